"""Kernel parameters of a container: which are its own, and where they are below /proc/sys."""

from __future__ import annotations

from cloche.spec.shape import MisfitError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_OF_IPC = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def path(key: str) -> str:
    """The parameter's path relative to /proc/sys.

    As sysctl(8) reads a key, the first separator decides: after a dot, dots separate and a slash
    stands for a dot in a name (`net.ipv4.conf.eno2/100.rp_filter`); after a slash it is a path.
    Raises MisfitError when a part is empty, `.` or `..`, or there is only one.
    """
    separators = [character for character in key if character in "./"]
    if separators[:1] == ["."]:
        key = key.translate({ord("."): "/", ord("/"): "."})
    parts = key.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise MisfitError("is not the name of a kernel parameter")
    return key


def owner(key: str) -> str:
    """The type of the namespace that the parameter belongs to. Raises MisfitError where there is none."""
    parts = path(key).split("/")
    dotted = ".".join(parts)
    if dotted in _OF_IPC or parts[:2] == ["fs", "mqueue"]:
        return "ipc"
    if parts[0] in ("net", "user"):
        return {"net": "network", "user": "user"}[parts[0]]
    if dotted == "kernel.domainname":
        return "uts"
    if dotted == "kernel.hostname":
        raise MisfitError("is not to be set here; use hostname")
    raise MisfitError("belongs to no namespace: it would change the host")


def require_own(key: str, namespaces: Collection[str]) -> None:
    """Raise MisfitError unless the parameter belongs to one of the container's own namespaces.

    namespaces: the types of linux.namespaces. Anything else would change the host.
    """
    kind = owner(key)
    if kind not in namespaces:
        raise MisfitError(f"would change the host: the container has no {kind} namespace of its own")


def require_all_own(sysctls: dict[str, str], namespaces: Collection[str]) -> None:
    """require_own for each key of linux.sysctl; the MisfitError's place is the key."""
    for key in sysctls:
        try:
            require_own(key, namespaces)
        except MisfitError as misfit:
            raise misfit.within(f"[{quoted(key)}]") from None
