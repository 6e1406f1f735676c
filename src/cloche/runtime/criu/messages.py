"""criu's RPC messages: the fields of its images/rpc.proto that a runtime has a use for.

Proto2: a scalar that was not given is absent, and a zero that was given is written. So each is
declared `optional`, criu's required ones too, and reads as None where it is absent.
"""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, enumeration, int32, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# criu_req_type
DUMP = 1
RESTORE = 2
PRE_DUMP = 4
NOTIFY = 6
FEATURE_CHECK = 9
VERSION = 10

# criu_cg_mode, by the words of --manage-cgroups-mode.
CGROUP_MODES = {"": 6, "soft": 3, "full": 4, "strict": 5, "ignore": 0}


class PageServer(Message, name="criu_page_server_info"):
    """Where memory pages are sent instead of into files."""

    address: str | None = string(1, optional=True)
    port: int | None = int32(2, optional=True)


class ExternalMount(Message, name="ext_mount_map"):
    """A mount that comes from outside. To dump: place and name of it; to restore: name and source."""

    key: str | None = string(1, optional=True)
    val: str | None = string(2, optional=True)


class JoinNamespace(Message, name="join_namespace"):
    """A kernel namespace that restored processes join by its path."""

    ns: str | None = string(1, optional=True)
    ns_file: str | None = string(2, optional=True)


class InheritedDescriptor(Message, name="inherit_fd"):
    """A descriptor of criu's own that takes the place of what a dump only has the name of."""

    key: str | None = string(1, optional=True)
    fd: int | None = int32(2, optional=True)


class CgroupRoot(Message, name="cgroup_root"):
    """Where the dumped cgroups of one v1 hierarchy, or of cgroup2 (""), are to be now."""

    ctrl: str | None = string(1, optional=True)
    path: str | None = string(2, optional=True)


class Options(Message, name="criu_opts"):
    """What criu's command line has as flags. Descriptors are those of the asking process."""

    images_dir_fd: int | None = int32(1, optional=True)
    pid: int | None = int32(2, optional=True)
    leave_running: bool | None = boolean(3, optional=True)
    ext_unix_sk: bool | None = boolean(4, optional=True)
    tcp_established: bool | None = boolean(5, optional=True)
    evasive_devices: bool | None = boolean(6, optional=True)
    shell_job: bool | None = boolean(7, optional=True)
    file_locks: bool | None = boolean(8, optional=True)
    log_level: int | None = int32(9, optional=True)
    log_file: str | None = string(10, optional=True)
    ps: PageServer | None = message(11, PageServer)
    notify_scripts: bool | None = boolean(12, optional=True)
    root: str | None = string(13, optional=True)
    parent_img: str | None = string(14, optional=True)
    track_mem: bool | None = boolean(15, optional=True)
    auto_dedup: bool | None = boolean(16, optional=True)
    work_dir_fd: int | None = int32(17, optional=True)
    link_remap: bool | None = boolean(18, optional=True)
    ext_mnt: Sequence[ExternalMount] = repeated(23, ExternalMount)
    manage_cgroups: bool | None = boolean(24, optional=True)
    cg_root: Sequence[CgroupRoot] = repeated(25, CgroupRoot)
    rst_sibling: bool | None = boolean(26, optional=True)
    inherit_fd: Sequence[InheritedDescriptor] = repeated(27, InheritedDescriptor)
    manage_cgroups_mode: int | None = enumeration(34, optional=True)
    external: Sequence[str] = repeated(37, STRING)
    empty_ns: int | None = uint32(38, optional=True)
    join_ns: Sequence[JoinNamespace] = repeated(39, JoinNamespace)
    freeze_cgroup: str | None = string(44, optional=True)
    tcp_skip_in_flight: bool | None = boolean(46, optional=True)
    lazy_pages: bool | None = boolean(48, optional=True)
    orphan_pts_master: bool | None = boolean(50, optional=True)
    config_file: str | None = string(51, optional=True)
    lsm_profile: str | None = string(53, optional=True)
    lsm_mount_context: str | None = string(63, optional=True)


class Features(Message, name="criu_features"):
    """In a request: what is asked about. In the response: what criu and this kernel can do."""

    mem_track: bool | None = boolean(1, optional=True)
    lazy_pages: bool | None = boolean(2, optional=True)


class Request(Message, name="criu_req"):
    """What criu is asked; as the answer to a notification: whether it may go on."""

    type: int | None = enumeration(1, optional=True)
    opts: Options | None = message(2, Options)
    notify_success: bool | None = boolean(3, optional=True)
    features: Features | None = message(5, Features)


class Restored(Message, name="criu_restore_resp"):
    """What came of a restore."""

    pid: int | None = int32(1, optional=True)


class Notification(Message, name="criu_notify"):
    """A point of the work that criu has reached. script: its name."""

    script: str | None = string(1, optional=True)
    pid: int | None = int32(2, optional=True)


class Version(Message, name="criu_version"):
    """Of criu itself."""

    major_number: int | None = int32(1, optional=True)
    minor_number: int | None = int32(2, optional=True)
    sublevel: int | None = int32(4, optional=True)


class Response(Message, name="criu_resp"):
    """The outcome of a request, or a notification on the way to it."""

    type: int | None = enumeration(1, optional=True)
    success: bool | None = boolean(2, optional=True)
    restore: Restored | None = message(4, Restored)
    notify: Notification | None = message(5, Notification)
    cr_errno: int | None = int32(7, optional=True)
    features: Features | None = message(8, Features)
    cr_errmsg: str | None = string(9, optional=True)
    version: Version | None = message(10, Version)
