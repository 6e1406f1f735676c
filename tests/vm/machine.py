"""A small machine under QEMU: cgroup2 alone, a kernel older than the host's, Cloche and runc inside."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers import peer
from tests.vm.apparmor import add_apparmor
from tests.vm.checkpoints import add_criu
from tests.vm.initramfs import Initramfs
from tests.vm.kernel import kernel
from tests.vm.systemd import add_systemd

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MEMORY_MB = 1024
DISK_MB = 512
BOOT_TIMEOUT_S = 60.0

# What of the environment's packages goes along: Cloche with what it needs, and pytest with that.
PACKAGES = (
    *("_pytest", "cloche", "hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest"),
    "sortedcontainers",
)


class Result(NamedTuple):
    """What a command in the guest came to: its status (negative: the signal) and both its streams."""

    status: int
    output: str


class Guest:
    """A running guest. `run` is all there is to it."""

    def __init__(self, process: subprocess.Popen[bytes], console: Path) -> None:
        self._process = process
        self._console = console

    def run(self, *args: str, timeout_s: float = 60) -> Result:
        """Run a command as the guest's root; killed with SIGKILL when its time is over."""
        request = {"args": args, "timeout_s": timeout_s}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self.answer(timeout_s + 10)
        return Result(answer["status"], answer["output"])

    def shell(self, script: str, *, timeout_s: float = 60) -> str:
        """What a shell script prints; it must succeed."""
        result = self.run("sh", "-euc", script, timeout_s=timeout_s)
        assert result.status == 0, result.output
        return result.output

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """The next line that the agent says."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            ready = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
            part = self._process.stdout.read1(65536) if ready else b""  # type: ignore[attr-defined]  # what pytest caught has it
            if not part:
                console = self._console.read_text(errors="replace")[-3000:]
                raise AssertionError(f"the guest said nothing for {timeout_s} s; its console:\n{console}")
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Pull the plug."""
        self._process.kill()
        self._process.communicate()


def boot(scratch: Path, *, systemd: bool = False) -> Guest:
    """Make a guest in `scratch` and start it; the test ends here where qemu or a kernel are missing.

    systemd: it is the first process, has the system's bus and manages user 1000 too.
    """
    qemu = peer("qemu-system-x86_64")
    image, modules = kernel()
    with open(scratch / "initramfs", "wb") as output:
        archive = Initramfs(output)
        if systemd:
            add_systemd(archive)
        _fill(archive, modules)
    disk = scratch / "disk"
    with open(disk, "wb") as empty:
        empty.truncate(DISK_MB << 20)
    subprocess.run([peer("mkfs.ext4"), "-q", "-O", "^has_journal", disk], check=True)
    command = [qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "pc"]
    command += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB)]
    command += ["-kernel", str(image), "-initrd", str(scratch / "initramfs")]
    command += ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off nokaslr swapaccount=1"]
    command += ["-serial", f"file:{scratch / 'console'}", "-serial", "stdio"]
    command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    guest = Guest(process, scratch / "console")
    try:
        assert guest.answer(BOOT_TIMEOUT_S) == {"ready": True}
    except BaseException:
        guest.close()
        raise
    return guest


def _fill(archive: Initramfs, modules: tuple[Path, ...]) -> None:
    """The host's Python, this checkout and its environment, all at their places on the host."""
    archive.file("/init", (HERE / "init.sh").read_bytes(), 0o755)
    archive.copy(HERE / "init.inside.sh", "/init.inside")
    archive.copy(HERE / "agent.py", "/agent.py")
    archive.file("/python", f"{sys.prefix}/bin/python".encode())
    for module in modules:
        archive.copy(module, f"/modules/{module.name}")
    archive.file("/modules/order", "\n".join(module.name for module in modules).encode())
    archive.program(peer("busybox"), "/bin/busybox")
    archive.link("/usr/bin/busybox", "/bin/busybox")
    for name in ("runc", "crun"):
        archive.program(peer(name))
    add_criu(archive)
    add_apparmor(archive)
    _python(archive)
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache"):
        archive.copy(Path("/etc", name))
    for folder in ("src", "tests"):
        archive.tree(CHECKOUT / folder)
    archive.copy(CHECKOUT / "pyproject.toml")
    archive.close()


def _python(archive: Initramfs) -> None:
    """The interpreter below the environment that runs the tests, and that environment."""
    archive.needed([Path(sys.executable)])
    environment = Path(sys.prefix)
    for name in ("python", "python3", "cloche", "cloche-runc", "containerd-shim-cloche-v1"):
        archive.copy(environment / "bin" / name)
    archive.copy(environment / "pyvenv.cfg")
    archive.library(Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix})))
    packages = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        archive.library(packages / name)
    for pattern in ("*.py", "*.dist-info/METADATA", "*.dist-info/entry_points.txt"):
        for path in packages.glob(pattern):
            archive.copy(path)
    for pattern in ("libseccomp.so.2", "libgcc_s.so.1"):
        archive.copy(next(Path("/lib/x86_64-linux-gnu").glob(pattern)))
