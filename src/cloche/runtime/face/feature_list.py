"""`features`: what this runtime can do, as the features document of the runtime specification.

Of the runtime and not of the machine: what the kernel lacks is refused when it is asked for.
"""

from __future__ import annotations

import sys

from cloche import __version__
from cloche.runtime.face.formats import json_text
from cloche.runtime.face.invocation import Command, Invocation
from cloche.runtime.face.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OLDEST_SPEC = "1.0.0"
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features() -> dict[str, Any]:
    """The document, in the order of the specification's type."""
    from cloche.kernel.mount_options import known_options

    return {
        "ociVersionMin": _OLDEST_SPEC,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(_HOOKS),
        "mountOptions": known_options(),
        "linux": _linux(),
        "annotations": _annotations(),
        # Nothing that is done here depends on an annotation.
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _linux() -> dict[str, Any]:
    from cloche.kernel.capabilities import NAMES
    from cloche.runtime.compile import UNSUPPORTED
    from cloche.runtime.plan_namespaces import KINDS
    from cloche.runtime.plan_scheduling import MEMORY_FLAGS, MEMORY_MODES

    supports_rdt = "intelRdt" not in UNSUPPORTED
    return {
        "namespaces": sorted(KINDS),
        "capabilities": list(NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
        "intelRdt": {"enabled": supports_rdt, "schemata": supports_rdt, "monitoring": supports_rdt},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": "netDevices" not in UNSUPPORTED},
    }


def _seccomp() -> dict[str, Any]:
    from cloche.kernel import seccomp

    return {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": sorted(seccomp.OPERATORS),
        "archs": sorted(seccomp.ARCHITECTURES),
        "knownFlags": sorted(seccomp.FLAGS),
        "supportedFlags": sorted(seccomp.FLAGS),
    }


def _annotations() -> dict[str, str]:
    from cloche.errors import ClocheError
    from cloche.kernel.libseccomp import Library

    annotations = {
        "org.opencontainers.runc.checkpoint.enabled": "true",
        "org.opencontainers.runc.version": __version__,
    }
    try:
        version = ".".join(map(str, Library().version()))
    except (ClocheError, OSError):
        # Without the library a container with a filter is refused, and any other one runs.
        return annotations
    return {"io.github.seccomp.libseccomp.version": version} | annotations


def show(_invocation: Invocation) -> int:
    """Print the document."""
    sys.stdout.write(json_text(features(), "    ") + "\n")
    return 0


COMMANDS = {
    "features": Command("print what this runtime can do, as JSON", "", show, least=0, most=0),
}
