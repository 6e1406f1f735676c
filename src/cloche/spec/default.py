"""The configuration that `spec` writes into a new bundle: member for member runc's, order included."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.config import Config, Mount

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    mount: Mount = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def _mounts() -> list[Mount]:
    closed = ("nosuid", "noexec", "nodev")
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            *("/dev/pts", "devpts", "devpts"),
            *("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/dev/shm", "tmpfs", "shm", *closed, "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *closed),
        _mount("/sys", "sysfs", "sysfs", *closed, "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *closed, "relatime", "ro"),
    ]


def default_config() -> Config:
    """A fresh copy of the default configuration, for root."""
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": [*_CAPABILITIES],
                "effective": [*_CAPABILITIES],
                "permitted": [*_CAPABILITIES],
                "ambient": [*_CAPABILITIES],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"},
                {"type": "network"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
            ],
            "maskedPaths": [*_MASKED_PATHS],
            "readonlyPaths": [*_READONLY_PATHS],
        },
    }


def rootless_config(uid: int, gid: int) -> Config:
    """A fresh copy of the default configuration for a user without privileges.

    uid, gid: ids outside that become 0 inside, usually those of the caller. There is no network
    namespace (nobody could configure it), so /sys is bound instead of mounted, and no cgroup limit.
    """
    config = default_config()
    config["mounts"] = [_without_privileges(mount) for mount in config["mounts"]]
    config["linux"] = {
        "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        "namespaces": [
            {"type": "pid"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
            {"type": "user"},
        ],
        "maskedPaths": [*_MASKED_PATHS],
        "readonlyPaths": [*_READONLY_PATHS],
    }
    return config


def _without_privileges(mount: Mount) -> Mount:
    if mount["destination"] == "/sys":
        return _mount("/sys", "none", "/sys", "rbind", *mount["options"])
    if mount["destination"] == "/dev/pts":
        return _mount("/dev/pts", "devpts", "devpts", *(o for o in mount["options"] if o != "gid=5"))
    return mount
