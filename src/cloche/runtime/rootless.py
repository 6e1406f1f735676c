"""Running without root: id maps that an ordinary user may write, and those that only helpers may."""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = Sequence[tuple[int, int, int]]

_HELPERS = {"uid_map": "newuidmap", "gid_map": "newgidmap"}


def write_maps(pid: int, uids: Ranges, gids: Ranges) -> None:
    """The id maps of a process in its new user namespace, as far as an ordinary user may have them.

    One's own id alone can be mapped by oneself; anything more is for newuidmap(1) and newgidmap(1), which
    look into /etc/subuid and /etc/subgid.
    """
    directory = f"/proc/{pid}"
    if _is_own(uids, os.geteuid()):
        _write(f"{directory}/uid_map", uids)
    else:
        _help("uid_map", pid, uids)
    if _is_own(gids, os.getegid()):
        # Or a group that takes rights away could be left (CVE-2014-8989).
        _put(f"{directory}/setgroups", "deny")
        _write(f"{directory}/gid_map", gids)
    else:
        _help("gid_map", pid, gids)


def _is_own(ranges: Ranges, own: int) -> bool:
    return len(ranges) == 1 and ranges[0][1:] == (own, 1)


def _write(path: str, ranges: Ranges) -> None:
    _put(path, "".join(f"{inside} {outside} {size}\n" for inside, outside, size in ranges))


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot write {text.strip()!r}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _help(name: str, pid: int, ranges: Ranges) -> None:
    helper = _HELPERS[name]
    words = [helper, str(pid), *(str(number) for one in ranges for number in one)]
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            actions = [(os.POSIX_SPAWN_DUP2, writing, 2)]
            child = os.posix_spawnp(helper, words, os.environ, file_actions=actions)
        except FileNotFoundError:
            raise FailedPrecondition(
                f"{helper} is not installed (on Debian: uidmap): without it an ordinary user "
                "can map his own id alone"
            ) from None
        finally:
            os.close(writing)
        said = os.read(reading, 4096).decode(errors="replace").strip()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(reading)
    if status:
        kind = name.partition("_")[0]
        raise FailedPrecondition(
            f"{' '.join(words)}: {said or f'exit status {status}'}: are these ids yours by /etc/sub{kind}?"
        )
