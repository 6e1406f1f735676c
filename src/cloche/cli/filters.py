"""`--filter NAME=VALUE` of `ps`: which containers are meant.

Values of one name are alternatives; different names must all hold (of labels: each of them).
"""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.engine.container import Container

_STATES = ("created", "running", "paused", "exited", "restarting", "removing", "dead")
_SPECIAL = "\\.^$*+?{}[]|()"


class Filters:
    """The conditions of one command line. Raises InvalidArgument for what is none."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._conditions: dict[str, list[str]] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            name = name.strip().lower()
            if not equals:
                raise InvalidArgument(f"invalid filter {text!r}: must be NAME=VALUE")
            if name not in _TESTS:
                raise InvalidArgument(f"invalid filter {text!r}: known are {', '.join(_TESTS)}")
            self._conditions.setdefault(name, []).append(value)
        for state in self._conditions.get("status", ()):
            if state not in _STATES:
                raise InvalidArgument(f"invalid filter 'status={state}': known are {', '.join(_STATES)}")

    @property
    def about_the_ended(self) -> bool:
        """Whether a condition can only be meant for containers that may not run."""
        return "status" in self._conditions or "exited" in self._conditions

    def accept(self, container: Container) -> bool:
        """Whether a container meets all conditions."""
        return all(
            (all if name == "label" else any)(_TESTS[name](container, value) for value in values)
            for name, values in self._conditions.items()
        )


def _name(container: Container, value: str) -> bool:
    # Docker's names begin with a slash, and people write patterns that know it.
    return _matches(value, f"/{container.name}") or _matches(value, container.name)


def _matches(pattern: str, text: str) -> bool:
    if not any(character in _SPECIAL for character in pattern):
        return pattern in text
    import re

    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise InvalidArgument(f"invalid filter pattern {pattern!r}: {error}") from None


def _label(container: Container, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    found = container.labels.get(key)
    return found is not None and (not equals or found == wanted)


def _ancestor(container: Container, value: str) -> bool:
    from cloche.spec import reference

    digest = container.kept.image_id
    if value and digest and (digest.startswith(value) or digest.partition(":")[2].startswith(value)):
        return True
    try:
        return str(reference.parse(container.image)) == str(reference.parse(value))
    except InvalidArgument:
        return False


def _exited(container: Container, value: str) -> bool:
    status = container.status()
    return status.state == "exited" and str(status.exit_code) == value


_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "ancestor": _ancestor,
    "exited": _exited,
    "id": lambda container, value: container.id.startswith(value),
    "label": _label,
    "name": _name,
    "status": lambda container, value: container.status().state == value,
}
