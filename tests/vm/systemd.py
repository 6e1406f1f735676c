"""systemd as a guest's first process: the host's programs, Debian's targets, and units of our own."""

from __future__ import annotations

from pathlib import Path

from tests.peers import peer
from tests.vm.initramfs import Initramfs

HERE = Path(__file__).parent
UNITS = Path("/usr/lib/systemd")
TARGETS = ("basic", "paths", "shutdown", "slices", "sockets", "sysinit", "timers")
USER = 1000

AGENT = """
[Unit]
DefaultDependencies=no
After=dbus.service
[Service]
ExecStartPre=/bin/sh -c 'for c in $$(cat /sys/fs/cgroup/cgroup.controllers); do \\
    echo +$$c >/sys/fs/cgroup/cgroup.subtree_control; done'
ExecStart=/bin/sh -c '$$(cat /python) -I /agent.py /dev/ttyS1; poweroff -f'
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/disk
StandardInput=null
StandardOutput=tty
TTYPath=/dev/ttyS0
Delegate=yes
TasksMax=infinity
"""
BUS = """
[Unit]
DefaultDependencies=no
[Service]
ExecStart={dbus} --system --address=systemd: --nofork --nopidfile --systemd-activation
OOMScoreAdjust=-900
"""
BUS_SOCKET = """
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/dbus/system_bus_socket
"""
# Debian's has a PAM session, whose one effect that matters here is XDG_RUNTIME_DIR.
MANAGER = f"""
[Unit]
DefaultDependencies=no
After=dbus.service
[Service]
User={USER}
Type=notify
ExecStart=/lib/systemd/systemd --user
Slice=user-{USER}.slice
Environment=XDG_RUNTIME_DIR=/run/user/{USER} HOME=/tmp
KillMode=mixed
Delegate=pids memory cpu
TasksMax=infinity
"""
DEFAULT = f"""
[Unit]
DefaultDependencies=no
Requires=agent.service dbus.socket dbus.service user@{USER}.service
"""


def add_systemd(archive: Initramfs) -> None:
    """Give a guest systemd. To be called first: what is there already stays."""
    archive.copy(HERE / "init.systemd.sh", "/init.inside")
    for name in ("systemctl", "busctl", "dbus-daemon", "unshare", "nsenter"):
        archive.program(peer(name))
    archive.program("/lib/systemd/systemd")  # of the same package as systemctl
    for name in TARGETS:
        for kind in ("system", "user"):
            unit = UNITS / kind / f"{name}.target"
            if unit.exists():
                archive.copy(unit)
    units = {
        "agent.service": AGENT,
        "dbus.service": BUS.format(dbus=peer("dbus-daemon")),
        "dbus.socket": BUS_SOCKET,
        f"user@{USER}.service": MANAGER,
        "default.target": DEFAULT,
    }
    for name, text in units.items():
        archive.file(f"/etc/systemd/system/{name}", text.encode())
    archive.file("/etc/systemd/user/default.target", b"[Unit]\nDefaultDependencies=no\nWants=user.slice\n")
    archive.file(
        "/etc/passwd",
        f"root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\nuser:x:{USER}:{USER}::/tmp:/bin/sh\n".encode(),
    )
    archive.file("/etc/group", f"root:x:0:\ntty:x:5:\nmessagebus:x:100:\nuser:x:{USER}:\n".encode())
    archive.tree(Path("/usr/share/dbus-1"), skipped=("services", "system-services", "interfaces"))
    archive.copy(Path("/etc/nsswitch.conf"))
