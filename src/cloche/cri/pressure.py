"""How long tasks had to wait for something: the pressure files of a cgroup. cgroup v2 alone has them."""

from __future__ import annotations

from functools import lru_cache

from cloche.kernel.cgroups.files import read
from cloche.kernel.cgroups.layout import UNIFIED
from cloche.wire.messages.cri.stats import PsiData, PsiStats
from cloche.wire.protobuf import Encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("cpu", "memory", "io")


def of(paths: Mapping[str, str]) -> dict[str, Encoded]:
    """What a cgroup waited for: a PsiStats each. paths: its directories by controller."""
    found = {}
    if UNIFIED in paths:
        for kind in _KINDS:
            try:
                found[kind] = parse(read(f"{paths[UNIFIED]}/{kind}.pressure"))
            except OSError:
                continue  # a kernel without it, or it was switched off
    return found


@lru_cache(maxsize=2048)
def parse(text: str) -> Encoded:
    """A pressure file as clients get it. Most containers rest, and theirs say the same as before."""
    lines = {line.split()[0]: _data(line) for line in text.splitlines() if line}
    return Encoded(PsiStats(full=lines.get("full"), some=lines.get("some")))


def _data(line: str) -> PsiData:
    values = dict(word.split("=", 1) for word in line.split()[1:])
    return PsiData(
        total=int(values.get("total", 0)),
        avg10=float(values.get("avg10", 0)),
        avg60=float(values.get("avg60", 0)),
        avg300=float(values.get("avg300", 0)),
    )
