"""Advice about refused operations: for those that there are, and said where one is refused."""

from __future__ import annotations

import errno

import pytest

from cloche.runtime import caller, hooks
from cloche.runtime.advice import _ADVICE, advice
from cloche.runtime.operations import Operation
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique


def below(kind: type) -> list[type]:
    """All the classes that derive from one."""
    found: list[type] = []
    child: type
    for child in kind.__subclasses__():
        found += [child, *below(child)]
    return found


def names() -> set[str]:
    """How the descriptions of all operations begin."""
    kinds = [*Operation.table, *below(caller.CallerOperation)]
    assert hooks.RunHooks in kinds
    return {"".join(f" {c.lower()}" if c.isupper() else c for c in kind.__name__).strip() for kind in kinds}


def test_every_piece_of_advice_is_about_an_operation_that_exists() -> None:
    assert set(_ADVICE) <= names()


def test_what_is_not_known_gets_none() -> None:
    assert advice("new session", errno.EPERM) == ""
    assert "5.12" in advice("new session", errno.ENOSYS)


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ({"type": "nosuchfs", "source": "x"}, "this kernel has no such file system"),
        ({"type": "tmpfs", "source": "x", "options": ["colour=red"]}, "Unknown parameter 'colour'"),
        ({"source": "/nonexistent", "options": ["bind"]}, "must exist on the host"),
        ({"source": "/etc/passwd", "destination": "/proc", "options": ["bind"]}, "both be directories"),
    ],
)
def test_a_refused_mount_says_what_to_do(
    root: None, cloche_runc: str, bundle: Bundle, mount: dict[str, object], said: str
) -> None:
    bundle.config["mounts"].append({"destination": "/tmp/x"} | mount)
    bundle.command("true")
    with Runtime(cloche_runc, bundle.path / "state") as runtime:
        result = runtime("run", "--bundle", str(bundle.path), unique("advice"))
    assert result.returncode == 1
    assert "config.json: mounts[7]: " in last_line(result)
    assert said in last_line(result)
