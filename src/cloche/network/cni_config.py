"""CNI network configurations: conflists and older single ones, read from a folder and checked.

A plugin's own keys are its own business: they are kept as they are. What is checked is what the
runtime acts on (CNI specification 1.1, section 1), so that no plugin is called for half a network.
"""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.spec import document
from cloche.spec.fields import Fields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Of the specification, that we speak; the last is the newest."""

_SUFFIXES = (".conf", ".conflist", ".json")
_LIMIT_BYTES = 4 << 20
_NAME_LIMIT = 200
_INTERFACE_LIMIT = 15
_FURTHER = "_.-"


class Network(Record):
    """A network: the plugins that make it, in the order in which they are called for ADD.

    version: of the specification, which its plugins are spoken to in. document: the whole
    configuration as a conflist. path: the file it comes from, for messages.
    """

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool
    disable_gc: bool
    document: Mapping[str, Any]
    path: str

    def at_least(self, version: str) -> bool:
        """Whether its plugins are spoken to in this version of the specification or a newer one."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    def capabilities(self) -> set[str]:
        """The capabilities that its plugins declare."""
        return {name for plugin in self.plugins for name in declared(plugin)}


def declared(plugin: Mapping[str, Any]) -> tuple[str, ...]:
    """The capabilities that a plugin's configuration says it has."""
    found = plugin.get("capabilities") or {}
    return tuple(name for name, has in found.items() if has is True)


def load(directory: str, limit: int = 1) -> tuple[Network, ...]:
    """The networks of a folder: of its first files by name, as containerd takes them.

    limit: how many; 0 for all. An empty tuple where the folder is missing or has no file that could
    be one. Raises InvalidArgument for one of them that is wrong, naming the file and the place in it.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(_SUFFIXES))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    paths = [path for name in names if os.path.isfile(path := f"{directory}/{name}")]
    return tuple(read(path) for path in (paths[:limit] if limit else paths))


def read(path: str) -> Network:
    """The network of one file. Raises InvalidArgument, and OSError where it cannot be read."""
    loaded = document.load_file(path, limit_bytes=_LIMIT_BYTES)
    if not path.endswith(".conflist") and not (isinstance(loaded, dict) and "plugins" in loaded):
        loaded = _as_list(Fields.of(loaded, path))
    return parse(loaded, path)


def parse(value: object, path: str) -> Network:
    """A parsed conflist. path: its file, for messages, and the place of plugins it does not inline.

    Raises InvalidArgument.
    """
    fields = Fields.of(value, path)
    name = fields.string("name", required=True)
    check_name(name, f"{path}: name")
    listed = list(fields.array("plugins"))
    if not _flag(fields, "loadOnlyInlinedPlugins"):
        listed += _beside(os.path.dirname(path), name)
    if not listed:
        raise InvalidArgument(f"{path}: plugins: there is none; name at least one, such as bridge")
    plugins = tuple(_plugin(each, f"{path}.plugins[{number}]") for number, each in enumerate(listed))
    return Network(
        name,
        _version(fields),
        plugins,
        _flag(fields, "disableCheck"),
        _flag(fields, "disableGC"),
        # What is recorded has all its plugins, whatever becomes of files beside it.
        {**fields.value, "plugins": [dict(plugin) for plugin in plugins], "loadOnlyInlinedPlugins": True},
        path,
    )


def check_name(name: str, where: str) -> None:
    """Refuse what may not be the name of a network or the id of a container. Raises InvalidArgument.

    It becomes part of paths in plugins' folders and in ours.
    """
    fine = name.isascii() and name[:1].isalnum() and all(c.isalnum() or c in _FURTHER for c in name)
    if not fine or len(name) > _NAME_LIMIT:
        raise InvalidArgument(
            f"{where}: {name[:_NAME_LIMIT]!r}: must be letters, digits, '_', '.' and '-', and begin with one "
            "of the first two"
        )


def check_interface(name: str) -> None:
    """Refuse what the kernel would not take as the name of an interface. Raises InvalidArgument."""
    bad = not name or len(name.encode()) > _INTERFACE_LIMIT or name in (".", "..")
    if bad or any(c in "/:" or c.isspace() or not c.isprintable() for c in name):
        raise InvalidArgument(
            f"interface name {name[:40]!r}: must be 1 to {_INTERFACE_LIMIT} letters without '/', ':', blanks"
        )


def _as_list(single: Fields) -> dict[str, Any]:
    """A conflist with the one plugin of an old configuration file."""
    if "type" not in single:
        raise InvalidArgument(f"{single.name}.type: is missing: it names the plugin to be executed")
    outer = {key: single.value[key] for key in ("name", "cniVersion") if key in single}
    return {**outer, "plugins": [single.value], "loadOnlyInlinedPlugins": True}


def _beside(directory: str, name: str) -> list[Any]:
    """Plugins that are kept in files of their own, in a folder with the network's name."""
    folder = f"{directory}/{name}"
    try:
        files = sorted(each for each in os.listdir(folder) if each.endswith(".conf"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [document.load_file(f"{folder}/{each}", limit_bytes=_LIMIT_BYTES) for each in files]


def _plugin(value: object, place: str) -> Mapping[str, Any]:
    fields = Fields.of(value, place)
    kind = fields.string("type", required=True)
    if not kind or "/" in kind or "\0" in kind or kind in (".", ".."):
        raise InvalidArgument(f"{place}.type: {kind[:100]!r}: must be the name of a program, without a path")
    fields.nested("capabilities")
    return fields.value


def _version(fields: Fields) -> str:
    """The newest that both the file offers and we speak; a file that says none means the oldest."""
    offered = [each for each in fields.strings("cniVersions") if each in VERSIONS]
    said = fields.string("cniVersion")
    if said in VERSIONS:
        offered.append(said)
    elif said and not offered:
        raise InvalidArgument(
            f"{fields.name}.cniVersion: {said[:40]!r} is not known: {', '.join(VERSIONS)} are"
        )
    return max(offered, key=VERSIONS.index, default=VERSIONS[0])


def _flag(fields: Fields, key: str) -> bool:
    """A boolean, which early configurations wrote as text."""
    value = fields.value.get(key)
    if value is None or value is False:
        return False
    if value is True:
        return True
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise InvalidArgument(f"{fields.name}.{key}: must be true or false")
