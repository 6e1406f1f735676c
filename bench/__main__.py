"""`make bench`: every comparison, one table. `python -m bench runtime` for some of them."""

from __future__ import annotations

import argparse
import os
import sys

from bench.rows import ALL, ON_REQUEST
from bench.stage import Stage
from bench.table import Row, render


def main() -> int:
    """Measure what was asked for and print the table; 1 where a row misses what it must reach."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure Cloche beside its peers.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(ALL)}, which are all measured where none is given, and {', '.join(ON_REQUEST)}",
    )
    parser.add_argument("--rounds", type=int, default=40, help="runs of each side (default: %(default)s)")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where a row misses what it must reach"
    )
    options = parser.parse_args()
    known = ALL | ON_REQUEST
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("runs containers: needs root")
    rows: list[Row] = []
    with Stage() as stage:
        for name in options.names or ALL:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            rows += known[name](stage, options.rounds)
    print(render(rows))
    missed = any(row.missed for row in rows)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
