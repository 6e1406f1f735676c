"""`cloched`: the daemon's command line, as containerd's."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from cloche import __version__
from cloche.errors import ClocheError

_ROOT, _STATE = "/var/lib/cloche", "/run/cloche"
_LEVELS = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARNING",
    "error": "ERROR",
    "fatal": "CRITICAL",
}


def main() -> int:
    """The console entry: serve, or say why not; returns the exit code."""
    options = _parser().parse_args()
    logging.basicConfig(
        level=_LEVELS[options.log_level], format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("hpack").setLevel(logging.INFO)
    from cloche.daemon.server import Places, Server

    address = options.address or f"{options.state}/cloched.sock"
    try:
        Server(Places(options.root, options.state, os.path.abspath(address))).run()
    except ClocheError as error:
        print(f"cloched: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="cloched", description="containerd's services, by Cloche.")
    parser.add_argument("-v", "--version", action="version", version=f"cloched {__version__}")
    parser.add_argument("-l", "--log-level", default="info", choices=sorted(_LEVELS))
    parser.add_argument("-a", "--address", default=environment.get("CLOCHE_ADDRESS", ""))
    parser.add_argument("--root", default=environment.get("CLOCHE_ROOT", _ROOT))
    parser.add_argument("--state", default=environment.get("CLOCHE_STATE", _STATE))
    return parser
