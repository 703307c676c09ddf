"""If-Match and ETag: HTTP's way to say which version of a resource a change is meant for.

Owns which requests have a place for an etag. Never compares one: the owner of the resource does.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from timeball.errors import refused

HEADER: Final = "If-Match"
_QUOTED: Final = re.compile(r'"([^"]*)"')
_ANY: Final = "*"
_READS: Final = frozenset({"GET", "HEAD"})


def takes_etag(request: Descriptor, method: str) -> bool:
    """Whether a request of this kind and HTTP method can say an etag."""
    return "etag" in request.fields_by_name or _is_of_task(request, method)


def set_etag(message: Message, method: str, header: str | None) -> None:
    """Put what the header says into the request.

    Args:
        message: the request as path, query and body say it.
        method: of HTTP.
        header: value of If-Match; None if there is none.

    Raises:
        InvalidRequest: it is not one etag in quotes, this call has no place for it, or the request
            says another one.
    """
    if header is None or method in _READS or header.strip() == _ANY:
        return
    descriptor: Any = message.DESCRIPTOR
    if not takes_etag(descriptor, method):
        raise refused(HEADER, "this call looks at no etag; leave the header out")
    quoted = _QUOTED.fullmatch(header.strip())
    if quoted is None or not quoted[1]:
        raise refused(HEADER, 'must be one etag in quotes, as ETag answered it, such as "r1"')
    place: Any = message
    if "etag" not in descriptor.fields_by_name:
        place = place.task
    if place.etag not in ("", quoted[1]):
        raise refused(HEADER, "differs from the etag of the request; send one of them")
    place.etag = quoted[1]


def etag_header(shown: Message) -> dict[str, str]:
    """The header for a resource that has an etag."""
    etag = getattr(shown, "etag", "") if "etag" in shown.DESCRIPTOR.fields_by_name else ""
    return {"etag": f'"{etag}"'} if etag else {}


def _is_of_task(request: Descriptor, method: str) -> bool:
    """An update quotes the etag in the task that it sends; a creation does not look at it."""
    return method == "PATCH" and "task" in request.fields_by_name
