"""Membership over gRPC, for a process without a coordination client of its own (dev mode).

The stream is the session: when it breaks both ends give the membership up, and joining again
makes a new incarnation. Leading and owning need a session of one's own and are not offered here.
The caller counts silence from the sending of its last *answered* heartbeat, the service from
the last one that it *received*; so the caller always knows first.
"""
