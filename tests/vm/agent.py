"""Inside the guest: runs what the host asks for over a serial line, one request at a time.

A request is a line of JSON, {"args": […], "timeout_s": …}; its answer {"status": …, "output": …}.
Ends with the line, after which the guest is switched off.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tty
from typing import Any


def main() -> None:
    """Answer until there is nobody to ask."""
    line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(line)
    with open(line, "r+b", buffering=0) as channel:
        channel.write(b'{"ready": true}\n')
        for request in iter(lambda: _line(channel.fileno()), b""):
            channel.write(json.dumps(answer(json.loads(request))).encode() + b"\n")


def _line(descriptor: int) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(descriptor, 4096)
        if not part:
            return b""
        text += part
    return text


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a session of its own; whatever it left running is killed when time is over."""
    with open("/tmp/.output", "w+b") as output:
        try:
            process = subprocess.Popen(
                request["args"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            return {"status": 127, "output": str(error)}
        try:
            status = process.wait(request["timeout_s"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        output.seek(0)
        return {"status": status, "output": output.read().decode(errors="replace")}


if __name__ == "__main__":
    main()
