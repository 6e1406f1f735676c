"""What a registry's answer means for the person who asked: one line that says what to do."""

from __future__ import annotations

from cloche.errors import (
    ClocheError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.image.transport import Response

_BODY_LIMIT_BYTES = 64 << 10
_DETAIL_LIMIT = 200


def refusal(
    response: Response, what: str, host: str, *, with_login: bool, action: str = "pull"
) -> ClocheError:
    """The error for an answer that is no success; reads and closes the response.

    what: the reference (and the part of it) that was asked for. host: who was asked. with_login:
    whether credentials were at hand. action: "pull" or "push", for the advice.
    """
    status = response.status
    detail = _detail(response)
    place = f"{what}: {host}"
    match status:
        case 401 if with_login:
            return PermissionDenied(
                f"{place} does not accept the user name or password{detail} (401): "
                "give others with --user, or log in anew with docker login"
            )
        case 401:
            return PermissionDenied(
                f"{place} asks for a login{detail} (401): check the name, or give a user with --user"
            )
        case 403:
            return PermissionDenied(f"{place} does not allow this user to {action}{detail} (403)")
        case 404 if action == "push":
            return NotFound(f"{place} has no such repository{detail} (404): check the name")
        case 404:
            return NotFound(f"{place} does not have it{detail} (404): check the name and the tag")
        case 429:
            when = _when(response)
            return ResourceExhausted(
                f"{place} has had too many requests{detail} (429){when}: try again later, or with --user"
            )
        case 400 | 405 | 413 | 416:
            return InvalidArgument(f"{place} does not accept the request{detail} ({status})")
        case _ if status >= 500:
            return Unavailable(f"{place} fails{detail} ({status}): try again later")
        case _:
            return FailedPrecondition(f"{place} answers with an unexpected status{detail} ({status})")


def _when(response: Response) -> str:
    asked = response.headers.get("Retry-After", "")
    return f", and asks to wait for {asked} s" if asked.isdigit() else ""


def _detail(response: Response) -> str:
    """The registry's own words about its error, bounded and on one line; empty without any."""
    try:
        body = response.read(_BODY_LIMIT_BYTES)
        response.close()
        errors = loads(body, "error") if body.lstrip()[:1] == b"{" else {}
        first = errors["errors"][0]
        words = first.get("message") or first.get("code") or ""
    except (ClocheError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    return f": {text[:_DETAIL_LIMIT]}" if text else ""
