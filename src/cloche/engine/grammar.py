"""The words in which Docker's users write settings, turned into values.

Each function takes the text of one option and raises InvalidArgument with that text in the
message, so that faces need not word errors themselves.
"""

from __future__ import annotations

import os

from cloche.engine.options import DeviceOption, MountOption, Ulimit
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_LIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
_ULIMITS = frozenset(_LIMITS.split())


def size(text: str | int, option: str = "size") -> int:
    """Bytes from `64m`, `1.5g`, `4096`, `10kb`, `1GiB` (units are powers of 1024); numbers pass."""
    if isinstance(text, int):
        return text
    word = text.strip().lower()
    digits = word.rstrip("ibkmgtp ")
    unit = word[len(digits) :].strip()
    unit = unit.removesuffix("ib") if unit.endswith("ib") else unit[:1] if unit[1:] in ("", "b") else unit
    try:
        if unit not in _UNITS or not digits or digits[0] in "+-":
            raise ValueError(unit)
        return int(float(digits) * _UNITS[unit]) if "." in digits else int(digits) * _UNITS[unit]
    except (ValueError, OverflowError):
        raise InvalidArgument(f"invalid {option} {text!r}: use a number and b, k, m or g: 64m") from None


def memory_swap(text: str | int) -> int:
    """`size`, or -1 for no limit."""
    return -1 if str(text).strip() == "-1" else size(text, "memory-swap")


def whole(text: str | int, option: str) -> int:
    """A whole number, which may be negative."""
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid {option} {text!r}: must be a whole number") from None


def cpus(text: str | float) -> float:
    """A number of processors such as 1.5."""
    try:
        value = float(text)
        if not 0 <= value < 1e6:
            raise ValueError(value)
        return value
    except ValueError:
        raise InvalidArgument(f"invalid cpus {text!r}: must be a number of processors, like 1.5") from None


def pair(text: str, option: str) -> tuple[str, str]:
    """`KEY=value`; a missing value is empty. Raises where the key is missing."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise InvalidArgument(f"invalid {option} {text!r}: must be KEY=VALUE")
    return key, value


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`pair` of each; a later one wins."""
    return dict(pair(text, option) for text in texts)


def environment(texts: Iterable[str]) -> tuple[str, ...]:
    """`KEY=value` entries; a bare `KEY` takes this process's value, or is kept to remove the image's."""
    result = []
    for text in texts:
        key, equals, _ = text.partition("=")
        if not key or "\0" in text:
            raise InvalidArgument(f"invalid environment variable {text!r}: must be NAME=VALUE")
        if not equals and key in os.environ:
            text = f"{key}={os.environ[key]}"
        result.append(text)
    return tuple(result)


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a text file cannot be read, in words."""
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "is not UTF-8"


def environment_file(path: str) -> tuple[str, ...]:
    """The entries of an `--env-file`: lines of `KEY=value` or `KEY`; `#` starts a comment line."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: env file cannot be read: {reason(error)}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        line = line.lstrip().rstrip("\r")
        if not line or line.startswith("#"):
            continue
        key = line.partition("=")[0]
        if not key or any(blank in key for blank in " \t"):
            raise InvalidArgument(f"{path}: line {number}: {key!r} is no name for a variable")
        if "=" in line or line in os.environ:
            entries.append(line)
    return environment(entries)


def ulimit(text: str) -> Ulimit:
    """`nofile=1024` or `nofile=1024:2048`; -1 or unlimited for no limit."""
    name, equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    if name not in _ULIMITS or not equals:
        raise InvalidArgument(f"invalid ulimit {text!r}: must be NAME=SOFT[:HARD], as nofile=1024:2048")
    values = [
        -1 if each == "unlimited" else whole(each, "ulimit") for each in (soft, hard if colon else soft)
    ]
    if values[1] != -1 and (values[0] > values[1] or values[0] == -1):
        raise InvalidArgument(f"invalid ulimit {text!r}: the soft limit is above the hard limit")
    return Ulimit(name, values[0], values[1])


def device(text: str) -> DeviceOption:
    """`/dev/x[:/dev/y[:rwm]]`."""
    parts = text.split(":")
    source, target, access = parts[0], parts[0], "rwm"
    if len(parts) == 2 and parts[1] and not parts[1].strip("rwm"):
        access = parts[1]
    elif len(parts) >= 2:
        target = parts[1] or source
    if len(parts) == 3:
        access = parts[2]
    paths_are_whole = source.startswith("/") and target.startswith("/")
    if len(parts) > 3 or not paths_are_whole or not access or access.strip("rwm"):
        raise InvalidArgument(f"invalid device {text!r}: must be /dev/HOST[:/dev/CONTAINER[:rwm]]")
    return DeviceOption(source, target, access)


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount {text!r}: the path in the container must be absolute")
    clean = os.path.normpath(path).replace("//", "/")
    if clean == "/":
        raise InvalidArgument(f"invalid mount {text!r}: the container's root cannot be a mount's place")
    return clean


def volume(text: str) -> MountOption:
    """`-v`: `/host:/in[:options]`, `name:/in[:options]`, or `/in` for an anonymous volume."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts) or "\0" in text:
        raise InvalidArgument(f"invalid volume {text!r}: must be [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) == 1:
        return MountOption("volume", _target(parts[0], text))
    source = parts[0]
    if source.startswith((".", "~")):
        source = os.path.abspath(os.path.expanduser(source))
    kind = "bind" if source.startswith("/") else "volume"
    if kind == "volume":
        _volume_name(source, text)
    read_only, propagation, recursive, copy_up = False, "", True, True
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option in _PROPAGATIONS:
            propagation = option
        elif option == "nocopy":
            copy_up = False
        elif option == "bind-nonrecursive":
            recursive = False
        elif option not in ("z", "Z", "consistent", "cached", "delegated"):
            raise InvalidArgument(f"invalid volume {text!r}: unknown option {option!r}")
    return MountOption(
        kind, _target(parts[1], text), source, read_only, propagation, recursive, kind == "bind", copy_up
    )


def _volume_name(name: str, text: str) -> None:
    rest = name.replace("_", "").replace(".", "").replace("-", "")
    if len(name) < 2 or not name[0].isalnum() or not name.isascii() or not rest.isalnum():
        raise InvalidArgument(
            f"invalid volume {text!r}: {name!r} is no volume name (letters, digits, _ . -); "
            "a host path must be absolute"
        )


_MOUNT_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def mount(text: str) -> MountOption:
    """`--mount type=bind,source=/host,target=/in,readonly` and its kin."""
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        key = _MOUNT_ALIASES.get(key.strip().lower(), key.strip().lower())
        if key in fields:
            raise InvalidArgument(f"invalid mount {text!r}: {key} is given twice")
        fields[key] = value if equals else "true"
    kind = fields.pop("type", "volume")
    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f"invalid mount {text!r}: unknown type {kind!r}")
    if "target" not in fields:
        raise InvalidArgument(f"invalid mount {text!r}: target is missing")
    target, source = _target(fields.pop("target"), text), fields.pop("source", "")
    read_only = _boolean(fields.pop("readonly", "false"), text)
    if kind == "tmpfs":
        return _tmpfs_mount(fields, target, source, text, read_only=read_only)
    propagation = fields.pop("bind-propagation", "") if kind == "bind" else ""
    recursive = fields.pop("bind-recursive", "enabled") if kind == "bind" else "enabled"
    copy_up = kind == "volume" and not _boolean(fields.pop("volume-nocopy", "false"), text)
    if fields:
        raise InvalidArgument(f"invalid mount {text!r}: unknown option {next(iter(fields))!r} of type {kind}")
    if kind == "bind" and source.startswith("."):
        source = os.path.abspath(source)
    if kind == "bind" and not source.startswith("/"):
        raise InvalidArgument(f"invalid mount {text!r}: source must be an absolute host path")
    if propagation and propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"invalid mount {text!r}: unknown propagation {propagation!r}")
    if kind == "volume" and source:
        _volume_name(source, text)
    return MountOption(
        kind,
        target,
        source,
        read_only=read_only,
        propagation=propagation,
        recursive=recursive != "disabled",
        copy_up=copy_up,
    )


def _tmpfs_mount(
    fields: dict[str, str], target: str, source: str, text: str, *, read_only: bool
) -> MountOption:
    options = []
    if "tmpfs-size" in fields:
        options.append(f"size={size(fields.pop('tmpfs-size'), 'tmpfs-size')}")
    if "tmpfs-mode" in fields:
        options.append(f"mode={fields.pop('tmpfs-mode')}")
    _check_tmpfs(options, text)
    if fields or source:
        extra = next(iter(fields), "source")
        raise InvalidArgument(f"invalid mount {text!r}: a tmpfs has no option {extra!r}")
    return MountOption("tmpfs", target, read_only=read_only, tmpfs_options=tuple(options))


def _boolean(word: str, text: str) -> bool:
    if word.lower() not in ("true", "1", "false", "0", "t", "f"):
        raise InvalidArgument(f"invalid mount {text!r}: {word!r} is neither true nor false")
    return word.lower() in ("true", "1", "t")


def tmpfs(text: str) -> MountOption:
    """`--tmpfs /in[:size=64m,mode=1777,exec]`."""
    path, _, words = text.partition(":")
    options = tuple(word for word in words.split(",") if word)
    _check_tmpfs(options, text)
    return MountOption("tmpfs", _target(path, text), tmpfs_options=options)


def _check_tmpfs(options: Iterable[str], text: str) -> None:
    for option in options:
        key, equals, value = option.partition("=")
        if equals and key not in _TMPFS_DATA:
            raise InvalidArgument(f"invalid mount {text!r}: a tmpfs has no option {key!r}")
        if key == "mode" and (not value or value.strip("01234567") or len(value) > 5):
            raise InvalidArgument(f"invalid mount {text!r}: mode must be octal, as 1777")
