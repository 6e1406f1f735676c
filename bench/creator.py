"""Makes a container whenever a line comes in, says when it is created, and when it is deleted again.

python -m bench.creator ROOT BUNDLE, where ROOT is a prefix. A warm program, so that what is measured
is what the kernel takes.
"""

from __future__ import annotations

import os
import sys

from cloche.runtime.create import create
from cloche.spec import document
from cloche.spec.validate import validate


def main(root: str, bundle: str) -> None:
    """See the module."""
    config = document.load_file(f"{bundle}/config.json")
    validate(config)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for _ in sys.stdin:
        container, process = create(
            f"{root}-{os.getpid()}",
            f"guard-{os.getpid()}",
            config,
            bundle=bundle,
            stdio=(nowhere,) * 3,
            rootless_cgroups=True,
        )
        print(flush=True)
        container.delete(force=True)
        process.wait()
        process.close()
        print(flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
