"""`registry explain`: each host of an image's registry, why it is asked, and what it answers."""

from __future__ import annotations

from cloche.cli import registry
from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, write
from cloche.errors import InvalidArgument
from cloche.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.image.explain import Attempt, Explanation


def _explain(_session: Session, parsed: Parsed) -> int:
    form = parsed.text("format") or ""
    if form not in ("", "json"):
        raise InvalidArgument(f"--format {form}: must be json, or be left out")
    reference, given = references.parse(parsed.arguments[0]), registry.access(parsed)
    from cloche.image import hosts_directory
    from cloche.image.explain import explain

    auth, directory = given.pop("auth", None), given.pop("hosts_dir", "")
    found = explain(reference, hosts_directory.hosts_of(reference.domain, directory, **given), auth)
    if form:
        import json

        line(json.dumps(_document(found), indent=2))
    else:
        _show(found)
    return 0 if found.taken_from else 1


def _show(found: Explanation) -> None:
    line(str(found.reference))
    for number, attempt in enumerate(found.attempts, 1):
        line(f"\n{number}. {_address(attempt)}{' (mirror)' if attempt.host.is_mirror else ''}")
        for name, value in _facts(attempt).items():
            if value:
                write(f"   {name + ':':<8} {one_line(value)}\n")
    line(f"\n{_verdict(found)}")


def _address(attempt: Attempt) -> str:
    host = attempt.host
    return f"{host.scheme or 'http(s)'}://{host.authority}{host.prefix}"


def _facts(attempt: Attempt) -> dict[str, str]:
    from cloche.image.explain import tls

    host = attempt.host
    return {
        "why": host.origin or "the name says so; nothing is configured for it",
        "ignored": ", ".join(host.ignored),
        "may": ", ".join(sorted(host.capabilities)),
        "TLS": tls(host),
        "login": attempt.login or "none",
        "headers": ", ".join(host.headers),
        "asked": attempt.url,
        "status": str(attempt.status or ""),
        "answer": attempt.answer,
        "do": attempt.advice,
    }


def _verdict(found: Explanation) -> str:
    numbers = {id(attempt): number for number, attempt in enumerate(found.attempts, 1)}
    resolved, taken = found.resolved_by, found.taken_from
    if unusable := next((each for each in found.attempts if each.is_unusable), None):
        return f"A pull fails: host {numbers[id(unusable)]} cannot be used as it is configured."
    if resolved is None:
        return "A pull fails: no host has it."
    if taken is None:
        return f"A pull fails: host {numbers[id(resolved)]} knows it, and none may be pulled from."
    if taken is resolved:
        return f"A pull takes it from host {numbers[id(taken)]}."
    return (
        f"A pull asks host {numbers[id(resolved)]} what it is, and takes it from host {numbers[id(taken)]}."
    )


def _document(found: Explanation) -> dict[str, Any]:
    return {
        "reference": str(found.reference),
        "hosts": [
            {
                "url": _address(attempt),
                "mirror": attempt.host.is_mirror,
                **{name.lower(): value for name, value in _facts(attempt).items()},
                "status": attempt.status,
                "digest": attempt.digest,
            }
            for attempt in found.attempts
        ],
        "resolvedBy": _address(found.resolved_by) if found.resolved_by else "",
        "pulledFrom": _address(found.taken_from) if found.taken_from else "",
        "verdict": _verdict(found),
    }


EXPLAIN = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _explain,
    groups=(("Options", (("format", "", "string", 'Print "json"'),)), registry.ACCESS),
    minimum=1,
    maximum=1,
    description=(
        "Ask each host of an image's registry, and tell why.\n"
        "Each with the file and line that names it, what it was shown, and its answer;\n"
        "at the end which of them a pull would use. Fails where a pull would."
    ),
)
