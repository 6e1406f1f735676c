"""What containerd's clients may ask of a runtime in runc's way: `containerd.runc.v1`."""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, repeated, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "containerd.runc.v1"


class Options(Message, package=_PACKAGE):
    """Of one container.

    shim_cgroup: where the shim itself goes. io_uid, io_gid: owner of the pipes that become its
    standard streams. binary_name: the runtime to execute. root: folder of that runtime's state.
    """

    no_pivot_root: bool = boolean(1)
    no_new_keyring: bool = boolean(2)
    shim_cgroup: str = string(3)
    io_uid: int = uint32(4)
    io_gid: int = uint32(5)
    binary_name: str = string(6)
    root: str = string(7)
    systemd_cgroup: bool = boolean(9)
    criu_image_path: str = string(10)
    criu_work_path: str = string(11)
    task_api_address: str = string(12)
    task_api_version: int = uint32(13)


class CheckpointOptions(Message, package=_PACKAGE):
    """Of one checkpoint; the words are CRIU's. exit: the container ends when it is written."""

    exit: bool = boolean(1)
    open_tcp: bool = boolean(2)
    external_unix_sockets: bool = boolean(3)
    terminal: bool = boolean(4)
    file_locks: bool = boolean(5)
    empty_namespaces: Sequence[str] = repeated(6, STRING)
    cgroups_mode: str = string(7)
    image_path: str = string(8)
    work_path: str = string(9)
    parent_path: str = string(10)


class ProcessDetails(Message, package=_PACKAGE):
    """What the shim knows of a pid: which further process it is."""

    exec_id: str = string(1)
