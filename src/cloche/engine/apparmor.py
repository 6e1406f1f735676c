"""AppArmor: what the kernel has of it, and a profile for containers that name none."""

from __future__ import annotations

import os
import shutil
import subprocess

from cloche.errors import FailedPrecondition

DEFAULT = "cloche-default"
"""The profile of containers that name none."""

PARSER = "apparmor_parser"
_ENABLED = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
_SEARCH = "/sbin:/usr/sbin:/usr/local/sbin"
_TIMEOUT_S = 60

# Beside capabilities and masked paths, for when one of those fails: what of the machine can be changed
# through files stays as it is, and processes outside are not looked into. Denials are not logged.
_TEXT = f"""profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  file,
  network,
  umount,
  unix,

  signal peer={DEFAULT},
  signal (receive) peer=unconfined,
  signal (receive) peer=crun,
  signal (receive) peer=runc,
  ptrace (read, trace, readby, tracedby) peer={DEFAULT},

  deny mount,
  deny /proc/* w,
  deny /proc/{{acpi,bus,driver,fs,irq,scsi,tty}}/** w,
  deny /proc/{{kcore,sysrq-trigger}} klrwx,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/[^ms]** w,
  deny /proc/sys/kernel/m[^s]** w,
  deny /proc/sys/kernel/s[^eh]** w,
  deny /proc/sys/kernel/sh[^m]** w,
  deny /sys/{{block,bus,class,dev,devices,hypervisor,kernel,module,power}}/** klwx,
  deny /sys/fs/[^c]** klwx,
  deny /sys/fs/c[^g]** klwx,
  deny /sys/{{firmware,kernel/security}}/** klrwx,
  deny /sys/devices/virtual/powercap/** klrwx,
}}
"""


def is_enabled() -> bool:
    """Whether the kernel enforces profiles."""
    try:
        with open(_ENABLED, encoding="ascii") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def parser() -> str:
    """The program that loads profiles; "" where it is not installed."""
    return shutil.which(PARSER, path=f"{_SEARCH}:{os.environ.get('PATH', '')}") or ""


def is_loaded(name: str) -> bool:
    """Whether the kernel knows a profile. Raises FailedPrecondition where it does not say."""
    try:
        with open(_PROFILES, encoding="utf-8", errors="surrogateescape") as file:
            return any(line.rpartition(" (")[0] == name for line in file)
    except OSError as error:
        raise FailedPrecondition(
            f"AppArmor's profiles cannot be read: {error.strerror}: {_PROFILES}: is securityfs mounted?"
        ) from None


def load_default() -> str:
    """Have the kernel know the default profile; its name. Raises FailedPrecondition."""
    if is_loaded(DEFAULT):
        return DEFAULT
    program = parser()
    if not program:
        raise FailedPrecondition(f"AppArmor's default profile needs {PARSER}: install apparmor")
    try:
        subprocess.run(
            [program, "--skip-cache", "--replace"],
            input=_TEXT,
            text=True,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise FailedPrecondition(f"AppArmor's default profile cannot be loaded: {said[:500]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition(f"AppArmor's default profile cannot be loaded: {error}") from None
    return DEFAULT
