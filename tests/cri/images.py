"""The images that critest asks for, made here: small ones around busybox, a real nginx, pauses."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bundles import make_rootfs
from tests.daemons import Registry
from tests.layouts import Layout, tar_directory
from tests.peers import peer

PROGRAMS = Path(__file__).parent / "programs"
HOSTS = ("registry.k8s.io", "gcr.io", "k8s.gcr.io")
"""The registries whose images these are; one real registry stands in for all of them."""
E2E, STAGING = "e2e-test-images", "k8s-staging-cri-tools"
BUSYBOX = f"registry.k8s.io/{E2E}/busybox:1.29-2"
NGINX = f"registry.k8s.io/{E2E}/nginx:1.14-2"
PAUSE = "registry.k8s.io/pause:3.10"
"""For daemons that need one. Not 3.9, which critest pulls and removes."""
PAUSES = ("3.9", "3.10", "3.10.1", "3.10.2")
_USERS = {
    "user-uid": "1002",
    "user-username": "www-data",
    "user-uid-group": "1003:users",
    "user-username-group": "www-data:100",
}

_PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33::/var/www:/bin/false
default-user:x:1000:1000::/home/default-user:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP = """root:x:0:
www-data:x:33:
users:x:100:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
nogroup:x:65534:
"""
# Applets that the upstream busybox has and Debian's lacks.
_SCRIPTS = {
    "pgrep": '#!/bin/sh\npids=$(pidof "$1") || exit 1\nfor pid in $pids; do echo "$pid"; done\n',
    "ipcs": "#!/bin/sh\nexec cat /proc/sysvipc/shm\n",
}
_HTTPD = "mkdir -p /www && echo hello > /www/index.html && echo httpd: serving && exec httpd -f -p 80 -h /www"

_NGINX = """
user www-data;
pid /var/run/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    server {{ listen {port}; root /usr/share/nginx/html; }}
}}
"""


def push_all(registry: Registry, place: Path, *, only: tuple[str, ...] = ("",)) -> None:
    """Make every image and push it to a registry, under its name without the host.

    place: an empty folder. only: push those in whose names one of these words is.
    """
    images = _Images(place, only)
    images.make()
    with ThreadPoolExecutor(4) as pushes:
        sources = [
            (f"oci:{images.layout.path}:{name}", name)
            for name in images.names
            if any(word in name for word in only)
        ]
        list(pushes.map(lambda pair: registry.push(*pair), sources))


class _Images:
    def __init__(self, place: Path, only: tuple[str, ...]) -> None:
        self.place = place
        self.only = only
        self.layout = Layout(place / "layout")
        self.names: list[str] = []

    def make(self) -> None:
        base = tar_directory(self._busybox(self.place / "busybox"))
        self._add(f"{E2E}/busybox:1.29-2", base, Cmd=["sh"])
        self._add(f"{E2E}/httpd:2.4.39-4", base, Cmd=["sh", "-c", _HTTPD])
        for name in ("latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest"):
            self._add(f"{STAGING}/test-image-{name}", base, Cmd=["sh"], Labels={"image": name})
        for tag in ("1", "2", "3"):
            self._add(f"{STAGING}/test-image-tags:{tag}", base, Cmd=["sh"], Labels={"image": "tags"})
        for name, user in _USERS.items():
            self._add(f"{STAGING}/test-image-{name}:latest", base, Cmd=["sh"], User=user)
        self._add(f"{STAGING}/test-image-predefined-group:latest", base, Cmd=["sh"], User="1000")
        self._add_programs()
        self._add_servers(base)

    def _add_programs(self) -> None:
        pause = self._compiled("pause", mode=0o755)
        for tag in PAUSES:
            self._add(f"pause:{tag}", pause, Entrypoint=["/pause"], Labels={"pause": tag})
        nonewprivs = self._compiled("nnp", mode=0o4755)
        self._add(f"{E2E}/nonewprivs:1.3", nonewprivs, Cmd=["/nnp"])

    def _add_servers(self, base: bytes) -> None:
        for name, port in ((f"{E2E}/nginx:1.14-2", 80), (f"{STAGING}/hostnet-nginx-amd64:latest", 12003)):
            layer = tar_directory(_nginx(self.place / f"nginx-{port}", port))
            self._add(name, base, layer, Cmd=["nginx", "-g", "daemon off;"], StopSignal="SIGQUIT")

    def _add(self, name: str, *layers: bytes, **settings: Any) -> None:
        if not any(word in name for word in self.only):
            return
        self.layout.image(name, list(layers), **settings)
        self.names.append(name)

    def _compiled(self, name: str, *, mode: int) -> bytes:
        folder = self.place / name
        folder.mkdir(mode=0o755)
        _compile(folder / name)
        (folder / name).chmod(mode)
        return tar_directory(folder)

    def _busybox(self, folder: Path) -> Path:
        """As upstream's image: hard links, so that one of them can be masked."""
        make_rootfs(folder)
        for link in (folder / "bin").iterdir():
            if link.is_symlink():
                link.unlink()
                link.hardlink_to(folder / "bin/busybox")
        (folder / "bin/sh").unlink()
        _compile(folder / "bin/sh")
        for name, text in _SCRIPTS.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (folder / "etc/passwd").write_text(_PASSWD)
        (folder / "etc/group").write_text(_GROUP)
        return folder


def _compile(target: Path) -> None:
    source = PROGRAMS / f"{target.name}.c"
    subprocess.run([peer("cc"), "-Os", "-static", "-s", "-o", str(target), str(source)], check=True)


def _nginx(folder: Path, port: int) -> Path:
    """Debian's nginx with the libraries that it is linked with, and a page."""
    program = Path(peer("nginx"))
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        target = folder / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for name in (
        "usr/sbin",
        "etc/nginx",
        "usr/share/nginx/html",
        "var/run",
        "var/log/nginx",
        "var/lib/nginx",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(program, folder / "usr/sbin/nginx")
    (folder / "etc/nginx/nginx.conf").write_text(_NGINX.format(port=port))
    (folder / "usr/share/nginx/html/index.html").write_text("<h1>Welcome to nginx!</h1>\n")
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    return folder
