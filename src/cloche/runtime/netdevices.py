"""linux.netDevices: devices of the host that move into the container's network namespace.

They keep their permanent addresses of global scope and come up (runtime-spec, "Network Devices").
Nothing brings them back at the end: with the namespace virtual ones are destroyed and physical ones
return to the first namespace, which is what the specification wants. Only where the move itself
fails half way are those that have moved given back, since nobody would expect them gone then.
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound
from cloche.runtime.caller import CallerOperation, Performing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.rtnetlink import Address, Link, RouteSocket
    from cloche.runtime.operations import Slot

_ENODEV, _EEXIST = 19, 17
_GLOBAL_SCOPE = 0


class MoveNetDevices(CallerOperation):
    """Move devices and make them usable there.

    socket: a netlink socket that the container's process has lent us.
    devices: (name on the host, name inside) each; a %d in the latter is the kernel's to fill.
    """

    socket: Slot
    devices: tuple[tuple[str, str], ...]

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.rtnetlink import RouteSocket

        descriptor = os.dup(performing.descriptors[self.socket])
        with RouteSocket() as here, RouteSocket(descriptor) as inside:
            moved: list[_Moved] = []
            try:
                for name, _ in self.devices:
                    moved.append(_look_up(here, name))
                for device, (_, new_name) in zip(moved, self.devices, strict=True):
                    _move(here, inside, device, new_name, f"/proc/{performing.pid}/ns/net")
            except BaseException:
                for device in moved:
                    _give_back(here, inside, device)
                raise


class _Moved:
    """A device on its way: as it was, and its index inside once it is there."""

    def __init__(self, link: Link, addresses: list[Address]) -> None:
        self.link = link
        self.addresses = addresses
        self.inside = 0


def _place(name: str) -> str:
    return f"config.json: linux.netDevices[{name!r}]"


def _look_up(here: RouteSocket, name: str) -> _Moved:
    try:
        link = here.link(name)
    except OSError as error:
        if error.errno != _ENODEV:
            raise
        raise NotFound(f"{_place(name)}: there is no such network device on the host") from None
    kept = [a for a in here.addresses(link.index) if a.permanent and a.scope == _GLOBAL_SCOPE]
    return _Moved(link, kept)


def _move(here: RouteSocket, inside: RouteSocket, device: _Moved, new_name: str, namespace: str) -> None:
    name = device.link.name
    before = {link.index for link in inside.links()}
    target = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        here.set_up(device.link.index, up=False)
        try:
            here.move(device.link.index, target, new_name)
        finally:
            # The kernel renames after it has moved: where that fails the device is inside already.
            for link in inside.links():
                if link.index not in before:
                    device.inside = link.index
        for address in device.addresses:
            inside.add_address(device.inside, address)
        inside.set_up(device.inside, up=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        words = f"{_place(name)}: cannot become {new_name!r} in the container: {reason}"
        raise (AlreadyExists if error.errno == _EEXIST else FailedPrecondition)(words) from None
    finally:
        os.close(target)


def _give_back(here: RouteSocket, inside: RouteSocket, device: _Moved) -> None:
    """As it was on the host, as far as that can be done: the error that led here is the one to tell."""
    try:
        if device.inside:
            ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                inside.move(device.inside, ours, device.link.name)
            finally:
                os.close(ours)
        index = here.link(device.link.name).index
        if device.inside:
            for address in device.addresses:
                here.add_address(index, address)
        here.set_up(index, up=device.link.up)
    except OSError:
        return
