"""Is this config.json one that can be run? Pure: nothing of the machine is looked at.

Everything here either accepts, with warnings, or raises InvalidArgument with one line that names
the place in the document. The rules are loaded by the first document: most commands only have an id.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST_ID = 1024
_OF_IDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
_OTHER_PLATFORMS = ("windows", "solaris", "zos", "freebsd")


def validate(document: Any, name: str = "config.json") -> list[str]:
    """Check a whole configuration and return warnings, each one line with its place.

    document: what the JSON parser gave. Members that are null are removed from it, since that is
    how other languages' encoders write an absent value; nothing else is changed.
    name: the file's name, for messages.
    Raises InvalidArgument for the first thing that is wrong.
    """
    from cloche.spec import rules, schema
    from cloche.spec.shape import MisfitError

    try:
        schema.CONFIG(document)
        warnings = [warning for rule in rules.RULES for warning in rule(document)]
    except MisfitError as misfit:
        raise misfit.refusal(name) from None
    warnings += [f"{other}: ignored on Linux" for other in _OTHER_PLATFORMS if other in document]
    return [f"{name}: {warning}" for warning in warnings]


def validate_process(document: Any, name: str = "process.json") -> list[str]:
    """The same for a process object alone, as exec takes it."""
    from cloche.spec import rules, schema
    from cloche.spec.shape import MisfitError

    try:
        schema.PROCESS(document)
        warnings = rules.process_rules(document)
    except MisfitError as misfit:
        raise misfit.refusal(name) from None
    return [f"{name}: {warning}" for warning in warnings]


def validate_resources(document: object, name: str = "resources.json") -> None:
    """The same for a resources object alone, as update takes it."""
    from cloche.spec import schema
    from cloche.spec.shape import MisfitError

    try:
        schema.RESOURCES(document)
    except MisfitError as misfit:
        raise misfit.refusal(name) from None


def validate_id(container_id: str) -> str:
    """Return a container's id if it may be one: letters, digits and `_+.-`, not `.` or `..`.

    Ids become names of directories. Raises InvalidArgument.
    """
    if not container_id:
        raise InvalidArgument("container id cannot be empty")
    if len(container_id) > _LONGEST_ID:
        raise InvalidArgument(f"container id is longer than {_LONGEST_ID} characters")
    if container_id in (".", "..") or not _OF_IDS.issuperset(container_id):
        from cloche.spec.shape import quoted

        raise InvalidArgument(
            f"invalid container id {quoted(container_id)}: letters, digits and _ + . - only, not . or .."
        )
    return container_id
