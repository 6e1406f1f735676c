"""What pods have on this machine's disks: their files of /etc, shared memory, and pinned namespaces.

ROOT/cri/pods/ID/    hostname, hosts, resolv.conf
STATE/cri/pods/ID/   shm, a tmpfs
NETNS/cni-ID         the pod's network namespace
"""

from __future__ import annotations

import errno
import os
import shutil
import threading

from cloche.cri import network_namespaces
from cloche.errors import InvalidArgument
from cloche.kernel.syscalls import MNT_DETACH, mount, umount2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.inventory import Pod
    from cloche.cri.settings import Settings
    from cloche.wire.messages.cri.values import DNSConfig

PAUSE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "cloche-pause")
"""Where the wheel installs the program that holds a pod's namespaces."""
_SHM_BYTES = 64 << 20
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_NAME_LIMIT = 64


class PodFiles:
    """Makes and removes them. All methods may block, and can be repeated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._placing = threading.Lock()

    def directory(self, pod_id: str) -> str:
        """Where a pod's files of /etc are."""
        return f"{self._settings.root}/cri/pods/{pod_id}"

    def shared_memory(self, pod_id: str) -> str:
        """Where a pod's /dev/shm is mounted."""
        return f"{self._settings.state}/cri/pods/{pod_id}/shm"

    def netns(self, pod_id: str) -> str:
        """Where a pod's network namespace is pinned."""
        return f"{self._settings.netns_directory}/cni-{pod_id[:32]}"

    def holder_root(self) -> str:
        """The root directory of every pod's holder: the program and nothing else."""
        directory = f"{self._settings.root}/cri/pause"
        target = f"{directory}/pause"
        with self._placing:
            if os.path.exists(target) and _same(target, PAUSE):
                return directory
            for path in (f"{self._settings.root}/cri", directory, f"{directory}/proc", f"{directory}/dev"):
                os.makedirs(path, exist_ok=True)
                os.chmod(path, 0o711)  # noqa: S103 - the users of a pod's own namespace come by
            # By a rename: the old program may be running.
            shutil.copyfile(PAUSE, f"{target}.new")
            os.chmod(f"{target}.new", 0o755)  # noqa: S103 - likewise
            os.rename(f"{target}.new", target)
        return directory

    def make(self, pod: Pod, *, shares_memory: bool) -> None:
        """Write its files, and mount its shared memory where it is not the host's."""
        directory = self.directory(pod.id)
        os.makedirs(directory, exist_ok=True)
        for name, text in contents(pod).items():
            with open(f"{directory}/{name}", "w", encoding="utf-8", errors="surrogateescape") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
        if shares_memory:
            return
        shm = self.shared_memory(pod.id)
        os.makedirs(shm, exist_ok=True)
        if not os.path.ismount(shm):
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            mount("shm", shm, "tmpfs", flags, f"mode=1777,size={_SHM_BYTES}")

    def unmount(self, pod_id: str) -> None:
        """Take its shared memory away."""
        shm = self.shared_memory(pod_id)
        if os.path.isdir(shm):
            _unmount(shm)
        shutil.rmtree(os.path.dirname(shm), ignore_errors=True)

    def remove(self, pod_id: str) -> None:
        """Remove all that is a pod's."""
        self.unmount(pod_id)
        network_namespaces.unpin(self.netns(pod_id))
        shutil.rmtree(self.directory(pod_id), ignore_errors=True)


def contents(pod: Pod) -> dict[str, str]:
    """File name -> text. Raises InvalidArgument for what cannot be written down."""
    name = hostname(pod)
    return {
        "hostname": name + "\n",
        "hosts": _read("/etc/hosts"),
        "resolv.conf": resolver(pod.config.dns_config),
    }


def hostname(pod: Pod) -> str:
    """Its name: as asked, else the machine's. Raises InvalidArgument for one that is too long."""
    name = pod.config.hostname or os.uname().nodename
    if len(name) > _NAME_LIMIT or not name.isprintable() or " " in name:
        raise InvalidArgument(f"hostname {name[:80]!r}: at most {_NAME_LIMIT} letters without blanks")
    return name


def resolver(dns: DNSConfig | None) -> str:
    """resolv.conf: as asked, else the machine's. Raises InvalidArgument for what is more than a word."""
    if dns is None or not (dns.servers or dns.searches or dns.options):
        return _read("/etc/resolv.conf")
    for word in (*dns.servers, *dns.searches, *dns.options):
        if len(word.split()) != 1:
            raise InvalidArgument(f"dns_config: {word[:80]!r} is not one word")
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "".join(f"{line}\n" for line in lines)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def _same(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()


def _unmount(path: str) -> None:
    """Unmount whatever is there; nothing mounted is fine."""
    try:
        while True:
            umount2(path, MNT_DETACH)
    except OSError as error:
        # Nothing (more) is mounted there.
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
