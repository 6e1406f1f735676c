"""`delete`: take away what a shim that died has left of one container.

containerd says it when it lost the connection to a shim, and for what it finds when it is started
anew. The shim of a pod may live on with other containers, so only this container is touched.
"""

from __future__ import annotations

import os
import time

from cloche.errors import InvalidArgument
from cloche.shim import bundle, exits, sockets
from cloche.shim.driver import driver_for
from cloche.shim.rootfs_mount import unmount_rootfs
from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.task import DeleteResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.bootstrap import Flags

KILLED = 128 + 9
_UNIX = "unix://"


def remove(flags: Flags) -> DeleteResponse:
    """Kill, unmount and remove; can be repeated. The answer says how the container ended.

    That is what its shim had written down; where it had not come to that, the container is killed now.

    Raises InvalidArgument where the flags do not say which container.
    """
    container_id, namespace = flags.texts.get("id", ""), flags.texts.get("namespace", "")
    if not namespace:
        raise InvalidArgument("shim namespace cannot be empty: say -namespace")
    if not container_id or "/" in container_id:
        raise InvalidArgument(f"{container_id!r} is no id of a task: say -id")
    place = flags.texts.get("bundle") or os.path.join(os.path.dirname(os.getcwd()), container_id)
    driver = driver_for(
        bundle.options_of(place), bundle=place, container_id=container_id, namespace=namespace, rootfs=()
    )
    ended = exits.recorded(place)
    driver.delete()
    unmount_rootfs(place)
    address = bundle.address_in(place)
    if address.startswith(_UNIX):
        sockets.remove_unserved(address.removeprefix(_UNIX))
    return DeleteResponse(
        pid=bundle.pid_in(place, bundle.INIT_PID),
        exit_status=ended.status if ended else KILLED,
        exited_at=Timestamp.of(ended.at_ns if ended else time.time_ns()),
    )
