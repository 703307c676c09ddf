"""The store on Cassandra 5: one keyspace, one session, plain batches, few conditional writes."""
