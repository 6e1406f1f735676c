"""`crictl stats`, `statsp`, `metricsp` and `metricdescs`: what pods and containers use."""

from __future__ import annotations

import time

from cloche.cli import human
from cloche.cli.crictl import filters, showing
from cloche.cli.crictl.command import OUTPUT, CrictlCommand
from cloche.cli.crictl.json_form import document
from cloche.cli.output import write
from cloche.errors import FailedPrecondition
from cloche.wire.messages.cri import metrics, stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client
    from cloche.wire.messages.cri.values import UInt64Value
    from cloche.wire.protobuf import Message

    _T = TypeVar("_T", stats.ContainerStats, stats.PodSandboxStats)

_WATCH_S = 0.5


def _stats(client: Client, flags: Parsed) -> None:
    request = stats.ListContainerStatsRequest(
        filter=stats.ContainerStatsFilter(
            id=_id(flags),
            pod_sandbox_id=flags.text("pod") or "",
            label_selector=filters.pairs(flags, "label"),
        )
    )

    def ask() -> list[stats.ContainerStats]:
        found: list[stats.ContainerStats] = client.runtime("ListContainerStats", request).stats
        return sorted(found, key=_identity)

    def show() -> None:
        if _told(flags, lambda: stats.ListContainerStatsResponse(stats=ask())):
            return
        before, now = _sampled(flags, ask)
        rows = [["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"]]
        for each in now:
            used, earlier = each.cpu or stats.CpuUsage(), before.get(_identity(each))
            idle = not _number(used.usage_core_nano_seconds) and not _working_set(each.memory)
            if earlier is not None and (flags.on("all") or not idle):
                rows.append(_container_row(each, _share(used, earlier.cpu)))
        _table(rows)

    _display(flags, show)


def _container_row(each: stats.ContainerStats, share: str) -> list[str]:
    metadata = each.attributes.metadata if each.attributes else None
    layer, swap = each.writable_layer, each.swap
    return [
        *(showing.short(_identity(each)), metadata.name if metadata else "", share),
        human.size(_working_set(each.memory)),
        human.size(_number(layer.used_bytes) if layer else 0),
        str(_number(layer.inodes_used) if layer else 0),
        human.size(_number(swap.swap_usage_bytes) if swap else 0),
    ]


def _statsp(client: Client, flags: Parsed) -> None:
    wanted = stats.PodSandboxStatsFilter(id=_id(flags), label_selector=filters.pairs(flags, "label"))
    request = stats.ListPodSandboxStatsRequest(filter=wanted)

    def ask() -> list[stats.PodSandboxStats]:
        found: list[stats.PodSandboxStats] = client.runtime("ListPodSandboxStats", request).stats
        return sorted(found, key=_identity)

    def show() -> None:
        if _told(flags, lambda: stats.ListPodSandboxStatsResponse(stats=ask())):
            return
        before, now = _sampled(flags, ask)
        rows = [["POD", "POD ID", "CPU %", "MEM"]]
        for each in now:
            used = (each.linux and each.linux.cpu) or stats.CpuUsage()
            memory = _working_set(each.linux.memory) if each.linux else 0
            earlier = before.get(_identity(each))
            if earlier is None or not (_number(used.usage_core_nano_seconds) or memory):
                continue
            metadata = each.attributes.metadata if each.attributes else None
            share = _share(used, earlier.linux.cpu if earlier.linux else None)
            name = metadata.name if metadata else ""
            rows.append([name, showing.short(_identity(each)), share, human.size(memory)])
        _table(rows)

    _display(flags, show)


def _metricsp(client: Client, flags: Parsed) -> None:
    def show() -> None:
        answer = client.runtime("ListPodSandboxMetrics", metrics.ListPodSandboxMetricsRequest())
        _message(flags, answer)

    _display(flags, show)


def _metricdescs(client: Client, flags: Parsed) -> None:
    _message(flags, client.runtime("ListMetricDescriptors", metrics.ListMetricDescriptorsRequest()))


def _message(flags: Parsed, answer: Message) -> None:
    form = showing.known_format(flags.text("output") or "json", "json", "yaml")
    showing.message_text(document(answer), form)


def _told(flags: Parsed, ask: Callable[[], Message]) -> bool:
    """Print one answer where the format is one for programs; whether it is."""
    form = showing.known_format(flags.text("output") or "table", "json", "yaml", "table")
    if form != "table":
        showing.message_text(document(ask()), form)
    return form != "table"


def _sampled(flags: Parsed, ask: Callable[[], list[_T]]) -> tuple[dict[str, _T], Sequence[_T]]:
    before = {_identity(each): each for each in ask()}
    time.sleep(max(0, 1 if flags.number("seconds") is None else flags.number("seconds") or 0))
    return before, ask()


def _share(now: stats.CpuUsage, before: stats.CpuUsage | None) -> str:
    """Percent of one processor between two samples."""
    used = _number(now.usage_core_nano_seconds)
    if not used:
        return "0.00"
    before = before or stats.CpuUsage()
    elapsed = now.timestamp - before.timestamp
    if not elapsed:
        raise FailedPrecondition("the daemon measured nothing anew meanwhile: use a larger --seconds")
    return f"{(used - _number(before.usage_core_nano_seconds)) / elapsed * 100:.2f}"


def _identity(each: stats.ContainerStats | stats.PodSandboxStats) -> str:
    return each.attributes.id if each.attributes else ""


def _number(value: UInt64Value | None) -> int:
    return value.value if value else 0


def _working_set(memory: stats.MemoryUsage | None) -> int:
    return _number(memory.working_set_bytes) if memory else 0


def _id(flags: Parsed) -> str:
    return flags.text("id") or (flags.arguments[0] if flags.arguments else "")


def _table(rows: list[list[str]]) -> None:
    import os

    if os.isatty(1):
        write(showing.CLEAR)
    showing.table(rows)


def _display(flags: Parsed, show: Callable[[], None]) -> None:
    show()
    while flags.on("watch"):
        time.sleep(_WATCH_S)
        show()


_ID: Row = ("id", "", "string", "The one with an id")
_LABEL: Row = ("label", "", "list", "Those with a label, KEY=VALUE")
_SECONDS: Row = ("seconds", "s", "int", "Seconds between the two samples (default 1)")
_WATCH: Row = ("watch", "w", "bool", "Again and again")
STATS = CrictlCommand(
    "[OPTIONS] [CONTAINER-ID]",
    _stats,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "Also those that are not running"),
                *(_ID, _LABEL, OUTPUT),
                ("pod", "p", "string", "Those of a pod, by id"),
                *(_SECONDS, _WATCH),
            ),
        ),
    ),
    maximum=1,
)
STATSP = CrictlCommand(
    "[OPTIONS] [POD-ID]",
    _statsp,
    groups=(("Options", (_ID, _LABEL, OUTPUT, _SECONDS, _WATCH)),),
    maximum=1,
)
METRICSP = CrictlCommand("[OPTIONS]", _metricsp, groups=(("Options", (OUTPUT, _WATCH)),))
METRICDESCS = CrictlCommand("[OPTIONS]", _metricdescs, groups=(("Options", (OUTPUT,)),))
