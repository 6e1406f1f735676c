"""Programs of the suite whose failure is not held against cloche-runc, and why."""

from __future__ import annotations

EXCEPTIONS: dict[str, str] = {
    "start": "demands that `start` without a process succeeds; the specification demands an error",
    "mounts": "takes the order of /proc/self/mountinfo for the order of mounting. Since Linux 6.8 it is the "
    "order in which mounts were made, and the sources of bind mounts are opened as detached mounts before "
    "the container's process exists; they are attached in the listed order, and stack as they should",
}
