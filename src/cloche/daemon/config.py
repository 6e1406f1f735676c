"""config.toml: read with what it imports, brought to the present version, checked, completed.

A key that means nothing is no error, since a file may be meant for another version, but is named in
a warning. A value of the wrong type is an error that names the file and the key.
"""

from __future__ import annotations

import copy
import glob
import os
import tomllib

from cloche.daemon import config_tables as tables
from cloche.daemon.config_check import check, read_span, unused
from cloche.daemon.config_migration import migrate, version_of
from cloche.daemon.config_tables import Each, Free, Span
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Config:
    """A configuration.

    given: what the files say. values: that with the defaults. warnings: for whoever starts the daemon.
    """

    def __init__(self, given: Mapping[str, Any], warnings: tuple[str, ...] = ()) -> None:
        self.given = given
        self.values = complete(given)
        self.warnings = warnings

    def says(self, *path: str) -> Any:
        """What the files say of one key; None where they are silent."""
        found: Any = self.given
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def plugin(self, name: str) -> Mapping[str, Any]:
        """The settings of a plugin by its full name; empty where nobody knows it."""
        found: Mapping[str, Any] = self.values["plugins"].get(name, {})
        return found

    def span_s(self, plugin: str, name: str) -> float:
        """A length of time among a plugin's settings, in seconds."""
        return read_span(self.plugin(plugin)[name])

    @property
    def address(self) -> str:
        """The gRPC socket's path."""
        return str(self.plugin(tables.GRPC)["address"])

    @property
    def ttrpc_address(self) -> str:
        """The ttrpc socket's path: beside the other one where nobody says."""
        return str(self.plugin(tables.TTRPC)["address"]) or f"{self.address}.ttrpc"


def default() -> Config:
    """What holds where there is no file."""
    return Config({})


def load(path: str, *, missing_ok: bool = False) -> Config:
    """Read a file and what it imports.

    missing_ok: whether no file means the defaults. Raises InvalidArgument for what cannot be used, OSError.
    """
    if missing_ok and not os.path.exists(path):
        return default()
    merged: dict[str, Any] = {}
    warnings: list[str] = []
    first_version = 0
    pending, seen = [path], set()
    while pending:
        file = pending.pop(0)
        if file in seen:
            continue
        seen.add(file)
        tree = read(file)
        version = version_of(tree, file)
        first_version = first_version or version
        if version > first_version:
            raise InvalidArgument(
                f"{file}: version {version}, and {path} which imports it has {first_version}"
            )
        migrate(tree, file)
        if version < tables.VERSION:
            warnings.append(
                f"{file}: version {version} is read as {tables.VERSION}: `cloched config migrate`"
            )
        warnings += check(tree, file)
        pending += _imports(tree, file)
        _merge(merged, tree)
    warnings += unused(merged)
    return Config(merged, tuple(warnings))


def read(path: str) -> dict[str, Any]:
    """One file as it is. Raises InvalidArgument where it is not TOML, OSError."""
    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArgument(f"{path}: not TOML: {error}") from None


def complete(tree: Mapping[str, Any], keys: Mapping[str, Any] = tables.TOP) -> dict[str, Any]:
    """A tree with the defaults of all that it does not say."""
    completed: dict[str, Any] = _complete(tree, keys, None)
    return completed


def _complete(value: Any, keys: Any, entries: Any) -> Any:
    if isinstance(keys, Free):
        return copy.deepcopy(value if value is not None else entries if entries is not None else keys.default)
    if isinstance(keys, Each):
        names = dict.fromkeys([*keys.entries, *(value or {})])
        return {name: _complete((value or {}).get(name), keys.keys, keys.entries.get(name)) for name in names}
    if isinstance(keys, dict):
        given, special = value or {}, entries or {}
        whole = {name: _complete(given.get(name), inner, special.get(name)) for name, inner in keys.items()}
        whole |= {name: copy.deepcopy(inner) for name, inner in given.items() if name not in keys}
        return {name: inner for name, inner in whole.items() if inner is not None}
    if value is not None:
        return copy.deepcopy(value)
    chosen = keys if entries is None else entries
    return str(chosen) if isinstance(chosen, Span) else copy.deepcopy(chosen)


def _merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
    """Lay an imported file over what there is, as containerd does.

    Lists of the top level grow; what is empty there changes nothing; named tables but plugins are replaced.
    """
    for name, value in tree.items():
        present = into.get(name)
        if name == "plugins" and isinstance(present, dict):
            overlay(present, value)
        elif isinstance(value, list) and isinstance(present, list):
            present += [one for one in value if one not in present]
        elif isinstance(value, dict) and isinstance(present, dict):
            present |= value
        elif present is None or value:
            into[name] = value


def overlay(into: dict[str, Any], tree: Mapping[str, Any], *, whole: tuple[str, ...] = ()) -> None:
    """Lay one tree over another, table by table. whole: tables of tables, of which each is replaced."""
    for name, value in tree.items():
        if not isinstance(value, dict) or not isinstance(into.get(name), dict):
            into[name] = value
        elif name in whole:
            into[name] |= value
        else:
            overlay(into[name], value, whole=whole)


def _imports(tree: Mapping[str, Any], file: str) -> list[str]:
    found = []
    for pattern in tree.get("imports", ()):
        path = os.path.normpath(os.path.join(os.path.dirname(file), pattern))
        found += sorted(glob.glob(path)) if "*" in path else [path]
    return found
