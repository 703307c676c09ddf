"""Encrypted connections to Cassandra: from files to what the driver takes."""

from __future__ import annotations

import ssl

from timeball.errors import FailedPrecondition


def tls_context(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext | None:
    """Checks the servers' certificates and names; None, for plain connections, without a CA.

    Args:
        ca: PEM file of who signed the servers' certificates.
        certificate: PEM file with this process's own, if the servers ask for one.
        key: PEM file with its key.

    Raises:
        FailedPrecondition: a file cannot be used; the sentence names them.
    """
    if not ca:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        names = ", ".join(filter(None, (ca, certificate, key)))
        raise FailedPrecondition(f"TLS files cannot be used ({error}): {names}") from error
    return context
