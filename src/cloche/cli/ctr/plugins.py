"""`ctr plugins`: what the daemon is made of."""

from __future__ import annotations

from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import RUNTIME, runtime_options
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import write, write_bytes
from cloche.spec.platform import Platform
from cloche.wire.messages import introspection as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.introspection import INTROSPECTION

_SKIPPED = "skip plugin"
_CODES = {2: "Unknown", 3: "InvalidArgument", 5: "NotFound", 9: "FailedPrecondition", 12: "Unimplemented"}


def _list(invocation: Invocation) -> None:
    request = messages.PluginsRequest(filters=invocation.arguments)
    found = invocation.daemon.ask(INTROSPECTION, "Plugins", request).plugins
    if invocation.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
    elif invocation.on("detailed"):
        lines: list[str] = []
        for each in found:
            lines += (["\t\t\t"] if lines else []) + _detailed(each)
        write(aligned(lines, least=4, padding=4))
    else:
        rows = [f"{each.type}\t{each.id}\t{_platforms(each) or '-'}\t{_status(each)}\t" for each in found]
        write(aligned(["TYPE\tID\tPLATFORMS\tSTATUS\t", *rows], least=4, padding=4))


def _status(plugin: messages.Plugin) -> str:
    if plugin.init_err is None:
        return "ok"
    return "skip" if _SKIPPED in plugin.init_err.message else "error"


def _platforms(plugin: messages.Plugin) -> str:
    found = {
        str(Platform(each.os, each.architecture, each.variant).normalised()) for each in plugin.platforms
    }
    return ",".join(sorted(found))


def _detailed(plugin: messages.Plugin) -> list[str]:
    lines = [f"Type:\t {plugin.type}", f"ID:\t {plugin.id}"]
    if plugin.requires:
        lines += ["Requires:\t", *(f"\t {each}" for each in plugin.requires)]
    if plugin.platforms:
        lines.append(f"Platforms:\t {_platforms(plugin)}")
    if plugin.exports:
        lines += ["Exports:\t", *(f"\t {key} \t {value}" for key, value in sorted(plugin.exports.items()))]
    if plugin.capabilities:
        lines.append(f"Capabilities:\t {','.join(plugin.capabilities)}")
    if plugin.init_err is not None:
        code = _CODES.get(plugin.init_err.code, str(plugin.init_err.code))
        lines += ["Error:\t", f"\t Code:\t {code}", f"\t Message:\t {plugin.init_err.message}"]
    return lines


def _inspect_runtime(invocation: Invocation) -> None:
    from cloche.cli.ctr.values import document
    from cloche.spec.document import dumps_indented
    from cloche.wire.messages.bootstrap import RuntimeInfo, RuntimeRequest

    name, options = runtime_options(invocation)
    asked = Any.pack(RuntimeRequest(runtime_path=name, options=options))
    request = messages.PluginInfoRequest(type="io.containerd.runtime.v2", id="task", options=asked)
    answer = invocation.daemon.ask(INTROSPECTION, "PluginInfo", request)
    info = RuntimeInfo.decode(answer.extra.value) if answer.extra else RuntimeInfo()
    write_bytes(dumps_indented(document(info)))


LIST = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _list,
    groups=(
        (
            "Options",
            (
                ("detailed", "d", "bool", "Everything that is known of each"),
                ("quiet", "q", "bool", "Only the ids"),
            ),
        ),
    ),
    maximum=None,
)
INSPECT_RUNTIME = CtrCommand("[OPTIONS]", _inspect_runtime, groups=(("Options", RUNTIME),))
