"""Prometheus' text format, version 0.0.4: families of samples, each with labels and a value.

# HELP NAME what it is
# TYPE NAME gauge|counter|histogram
NAME{label="value",…} 42
"""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Sample(Record):
    """One value. suffix: what comes behind the family's name, such as _bucket of a histogram."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(Record):
    """Samples with one name. kind: "gauge", "counter" or "histogram". help: for people."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def encode(families: Iterable[Family]) -> bytes:
    """The text. Families without samples are left out, and those of one name are one."""
    merged: dict[str, list[Family]] = {}
    for family in families:
        if family.samples:
            merged.setdefault(family.name, []).append(family)
    lines: list[str] = []
    for name, parts in merged.items():
        lines.append(f"# HELP {name} {parts[0].help.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {name} {parts[0].kind}")
        lines += [_line(name, sample) for part in parts for sample in part.samples]
    return "".join(line + "\n" for line in lines).encode()


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sample.labels.items())
    return (
        f"{name}{sample.suffix}{{{labels}}} {_number(sample.value)}"
        if labels
        else (f"{name}{sample.suffix} {_number(sample.value)}")
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1 << 63 else repr(value)
