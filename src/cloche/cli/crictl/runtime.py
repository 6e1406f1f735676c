"""`crictl version`, `runtime-config`, `update-runtime-config`, `events`, `config` and `completion`."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.crictl import completions, settings, showing
from cloche.cli.crictl.command import STATUS_OUTPUT, CrictlCommand
from cloche.cli.crictl.json_form import document
from cloche.cli.output import line, write
from cloche.wire.messages.cri import events, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.crictl.client import Client

_API = "v1"


def _version(client: Client, flags: Parsed) -> None:
    told = client.runtime("Version", version.VersionRequest(version=_API))
    # With two blanks, as crictl has it.
    line(f"Version:  {told.version}\nRuntimeName:  {told.runtime_name}")
    line(f"RuntimeVersion:  {told.runtime_version}\nRuntimeApiVersion:  {told.runtime_api_version}")


def _runtime_config(client: Client, flags: Parsed) -> None:
    told = client.runtime("RuntimeConfig", version.RuntimeConfigRequest())
    if told.linux is not None:
        line(f"cgroup driver:   {document(told.linux)['cgroupDriver']}")


def _update_runtime_config(client: Client, flags: Parsed) -> None:
    pod_cidr = flags.text("pod-cidr")
    if pod_cidr is None:
        raise UsageError("--pod-cidr says what to change")
    config = version.RuntimeConfig(network_config=version.NetworkConfig(pod_cidr=pod_cidr))
    client.runtime("UpdateRuntimeConfig", version.UpdateRuntimeConfigRequest(runtime_config=config))


def _events(client: Client, flags: Parsed) -> None:
    form = showing.known_format(flags.text("output") or "json", "json", "yaml", "go-template")
    text = flags.text("template") or ""
    if text and form != "go-template":
        raise UsageError(f"--template and -o {form} exclude each other")
    template = None
    if form == "go-template":
        from cloche.cli.template import Template

        template = Template(text)
    for event in client.events("GetContainerEvents", events.GetEventsRequest()):
        if template is not None:
            line(template.execute(document(event)))
        else:
            showing.message_text(document(event), form)


def _config(client: Client, flags: Parsed) -> None:
    path = client.settings.path
    if not os.path.exists(path):
        _write(path, settings.File())
    file = settings.read(path)
    wanted = flags.text("get")
    if wanted is not None:
        name = wanted.replace("-", "_")
        if name not in settings.OPTIONS:
            raise UsageError(f"no option {wanted!r}: there are {', '.join(settings.option_names())}")
        value = getattr(file, name)
        line(str(value).lower() if isinstance(value, bool) else str(value))
    elif flags.all("set") or flags.arguments:
        _write(path, _changed(file, flags))
    elif flags.on("list"):
        showing.table([["KEY", "VALUE"], *(text.split(": ") for text in _listed(file))])
    else:
        raise UsageError("--get, --set or --list says what to do")


def _listed(file: settings.File) -> list[str]:
    return file.text().replace('""', "").splitlines()


def _changed(file: settings.File, flags: Parsed) -> settings.File:
    if flags.arguments:
        return file.changed(flags.arguments[0], flags.arguments[1] if len(flags.arguments) > 1 else "")
    for words in flags.all("set"):
        for word in words.split(","):
            option, equals, value = word.partition("=")
            if not equals:
                raise UsageError(f"--set: {word!r} must be OPTION=VALUE")
            file = file.changed(option, value)
    return file


def _write(path: str, file: settings.File) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as target:
        target.write(file.text())
    os.replace(new, path)


def _completion(client: Client, flags: Parsed) -> None:
    write(completions.script(flags.arguments[0] if flags.arguments else "bash"))


VERSION = CrictlCommand("", _version)
RUNTIME_CONFIG = CrictlCommand("", _runtime_config)
UPDATE_RUNTIME_CONFIG = CrictlCommand(
    "[OPTIONS]",
    _update_runtime_config,
    groups=(("Options", (("pod-cidr", "p", "string", "The addresses that pods may have"),)),),
)
EVENTS = CrictlCommand("[OPTIONS]", _events, groups=(("Options", STATUS_OUTPUT),))
CONFIG = CrictlCommand(
    "[OPTIONS] [OPTION VALUE]",
    _config,
    groups=(
        (
            "Options",
            (
                ("get", "", "string", "Show the value of an option"),
                ("list", "", "bool", "Show all options"),
                ("set", "", "list", "Set options, OPTION=VALUE[,OPTION=VALUE...]"),
            ),
        ),
    ),
    maximum=2,
)
COMPLETION = CrictlCommand("[bash|zsh|fish]", _completion, maximum=1)
