"""`spec`: write a config.json to start from."""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.invocation import Command, Invocation

_FILE = "config.json"


def write(invocation: Invocation) -> int:
    """Write the default config.json into the bundle, which must not have one yet."""
    from cloche.runtime.face.formats import json_text
    from cloche.spec.default import default_config, rootless_config

    rootless = invocation.options.switch("rootless")
    config = rootless_config(os.geteuid(), os.getegid()) if rootless else default_config()
    path = os.path.join(invocation.options.text("bundle"), _FILE)
    try:
        file = open(path, "x", encoding="utf-8")
    except FileExistsError:
        raise AlreadyExists(f"File {path} exists. Remove it first") from None
    with file:
        file.write(json_text(config, "\t"))
    return 0


COMMANDS = {
    "spec": Command(
        "write a default config.json into a bundle",
        "",
        write,
        (
            Flag("bundle", "text", "directory to write into (default: the current one)", "b"),
            Flag("rootless", "switch", "one that works without privileges"),
        ),
        least=0,
        most=0,
        description="Change process.args and root.path in it to run something else than sh of ./rootfs.",
    )
}
