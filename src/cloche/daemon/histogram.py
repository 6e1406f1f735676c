"""How long things took, in the buckets that Prometheus' client libraries have by default."""

from __future__ import annotations

from bisect import bisect_left

from cloche.wire.prometheus import Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMITS_S = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10")
_NUMBERS = tuple(map(float, _LIMITS_S))


class Histogram:
    """Counts of durations, and their sum."""

    __slots__ = ("_buckets", "_sum_s")

    def __init__(self) -> None:
        self._buckets = [0] * (len(_NUMBERS) + 1)
        self._sum_s = 0.0

    def add(self, took_s: float) -> None:
        """One more."""
        self._buckets[bisect_left(_NUMBERS, took_s)] += 1
        self._sum_s += took_s

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._buckets)

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """As a family of the kind histogram has them."""
        below = 0
        for limit, count in zip((*_LIMITS_S, "+Inf"), self._buckets, strict=True):
            below += count
            yield Sample(below, {**labels, "le": limit}, "_bucket")
        yield Sample(self._sum_s, labels, "_sum")
        yield Sample(below, labels, "_count")
