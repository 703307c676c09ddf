"""What is wrong with a request before it is one of the API's: no such path, too much, no JSON.

Members of the one family of errors, so that they travel like all others.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeball.errors import InvalidRequest, PermissionDenied, TaskNotFound


class PathNotFound(TaskNotFound):
    """Nothing is served under this path."""

    reason = "PATH_NOT_FOUND"


class MethodNotAllowed(InvalidRequest):
    """The path exists, for other methods: `allowed`."""

    reason = "METHOD_NOT_ALLOWED"

    def __init__(self, message: str, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(sorted(allowed))


class BodyTooLarge(InvalidRequest):
    """More bytes than one request may have."""

    reason = "BODY_TOO_LARGE"


class UnsupportedMediaType(InvalidRequest):
    """The body is not said to be JSON."""

    reason = "UNSUPPORTED_MEDIA_TYPE"


class ForeignOrigin(PermissionDenied):
    """A page of another site made a browser send this."""

    reason = "FOREIGN_ORIGIN"
