-- Namespaces and API keys, and the names of a namespace's users.

-- Tenants; conditional insert, changed by administrators. One partition: a cluster has thousands.
CREATE TABLE namespaces (
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    title TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    PRIMARY KEY (cluster, namespace)
) STRICT, WITHOUT ROWID;

-- API keys; conditional insert. digest is the keyed hash of the whole key.
CREATE TABLE api_keys (
    namespace TEXT NOT NULL,
    key_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    subject TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    request_id TEXT NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    PRIMARY KEY (namespace, key_id)
) STRICT, WITHOUT ROWID;

-- Names that may be users; written before the user, verified on read.
CREATE TABLE users_by_namespace (
    namespace TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (namespace, user_id)
) STRICT, WITHOUT ROWID;
