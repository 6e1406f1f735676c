"""A shim's streams in a process of their own, to be killed: python -m tests.shim.stdio.dying FD URI…

Opens the streams (stdin, stdout, stderr, "terminal" or ""), starts the shell script that follows, and
gives what is kept of the streams, and the script's pidfd, to the socket FD.
"""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys

from cloche.shim.loop import Loop
from cloche.shim.stdio.opening import Uris, open_stdio


def main() -> None:
    """See the module."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    stdin, stdout, stderr, terminal, script = sys.argv[2:7]
    loop = Loop()
    uris = Uris(stdin, stdout, stderr, bool(terminal))
    stdio = open_stdio(loop, uris, container_id="c1", namespace="n1")
    master = slave = -1
    ends = stdio.child
    if terminal:
        master, slave = os.openpty()
        ends = (slave, slave, slave)
    process = subprocess.Popen(
        ["sh", "-c", script], stdin=ends[0], stdout=ends[1], stderr=ends[2], start_new_session=True
    )

    def begin() -> None:
        stdio.close_child()
        if terminal:
            os.close(slave)
            stdio.attach_console(master)
        present = [end >= 0 for end in stdio.kept.values()]
        descriptors = [end for end in stdio.kept.values() if end >= 0] + [os.pidfd_open(process.pid)]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        channel.sendmsg([bytes(present) + process.pid.to_bytes(4, "big")], rights)

    loop.call_soon(begin)
    loop.run()


if __name__ == "__main__":
    main()
