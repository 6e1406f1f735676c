"""Configurations that are valid by the specification, generated with hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cloche.runtime.plan_namespaces import KINDS
from cloche.runtime.process_limits import RESOURCES
from cloche.spec.rules import CAPABILITIES

names = st.text("abcxyz019-_", min_size=1, max_size=8)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
paths = st.lists(st.one_of(names, st.sampled_from(["..", ".", "a b", "ä"])), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
ids = st.integers(0, 2**32 - 2)
mappings = st.integers(0, 2**31).map(lambda first: [{"containerID": 0, "hostID": first, "size": 65536}])


def members(required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


def subset(choices: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(sorted(choices)), unique=True, max_size=6)


attributes = subset(
    ["ro", "rw", "nosuid", "nodev", "noexec", "rro", "rnoexec", "relatime", "noatime", "rslave", "rprivate"]
)
binds = members(
    {
        "destination": paths,
        "source": paths,
        "options": attributes.map(lambda options: ["rbind", *options]),
    },
    type=st.sampled_from(["bind", "none", ""]),
)
mapped_binds = st.builds(
    lambda mount, maps, word: {
        **mount,
        "type": "bind",
        "options": [*mount["options"], word],
        "uidMappings": maps,
        "gidMappings": maps,
    },
    binds,
    mappings,
    st.sampled_from(["idmap", "ridmap"]),
)
new_filesystems = members(
    {
        "destination": paths,
        "type": st.sampled_from(
            ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"]
        ),
        "source": names,
    },
    options=st.builds(
        lambda common, own: common + own,
        attributes,
        subset(["size=64k", "mode=755", "newinstance", "lowerdir=/a"]),
    ),
)
copy_ups = st.builds(
    lambda path, options: {
        "destination": path,
        "type": "tmpfs",
        "source": "t",
        "options": ["tmpcopyup", *options],
    },
    paths,
    attributes,
)
mounts = st.lists(st.one_of(binds, mapped_binds, new_filesystems, copy_ups), max_size=6)

devices = st.lists(
    members(
        {
            "path": paths,
            "type": st.sampled_from("cbup"),
            "major": st.integers(0, 4095),
            "minor": st.integers(0, 255),
        },
        fileMode=st.integers(0, 0o777),
        uid=ids,
        gid=ids,
    ),
    max_size=3,
)

hook = members(
    {"path": st.one_of(paths, st.just("/bin/true"))},
    args=st.lists(words, max_size=2),
    env=st.lists(st.one_of(words, st.builds("{}={}".format, names, words)), max_size=2),
    timeout=st.integers(1, 100),
)
hooks = members(
    {},
    prestart=st.lists(hook, max_size=1),
    createRuntime=st.lists(hook, max_size=2),
    createContainer=st.lists(hook, max_size=2),
    startContainer=st.lists(hook, max_size=2),
    poststart=st.lists(hook, max_size=1),
)

capabilities = members(
    {},
    **dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), subset(CAPABILITIES)),
)

limits = st.lists(st.sampled_from(sorted(RESOURCES)), unique=True, max_size=3).map(
    lambda kinds: [{"type": kind, "soft": 10, "hard": 20} for kind in kinds]
)

processes = members(
    {
        "cwd": paths,
        "args": st.lists(words, min_size=1, max_size=4),
    },
    user=members(
        {"uid": ids, "gid": ids}, additionalGids=st.lists(ids, max_size=3), umask=st.integers(0, 0o777)
    ),
    env=st.lists(st.builds("{}={}".format, names, words), max_size=4),
    terminal=st.booleans(),
    consoleSize=members({"height": st.integers(0, 200), "width": st.integers(0, 200)}),
    noNewPrivileges=st.booleans(),
    capabilities=capabilities,
    rlimits=limits,
    oomScoreAdj=st.integers(-1000, 1000),
    apparmorProfile=names,
    selinuxLabel=names,
)


@st.composite
def linux(draw: st.DrawFn) -> dict[str, Any]:
    """linux of a configuration: a new mount namespace and any mix of new and joined others."""
    kinds = draw(subset(sorted(set(KINDS) - {"mount"})))
    namespaces: list[dict[str, str]] = [{"type": "mount"}]
    for kind in kinds:
        joined = draw(st.booleans())
        namespaces.append({"type": kind, "path": f"/proc/1/ns/{kind}"} if joined else {"type": kind})
    section: dict[str, Any] = draw(
        members(
            {"namespaces": st.permutations(namespaces)},
            devices=devices,
            maskedPaths=st.lists(paths, max_size=3),
            readonlyPaths=st.lists(paths, max_size=3),
            rootfsPropagation=st.sampled_from(["", "rslave", "shared", "rprivate", "unbindable"]),
            mountLabel=names,
        )
    )
    if "user" in kinds and {"type": "user"} in namespaces:
        section["uidMappings"], section["gidMappings"] = draw(mappings), draw(mappings)
    if "network" in kinds:
        section["netDevices"] = draw(st.dictionaries(names, members({}, name=names), max_size=2))
        if draw(st.booleans()):
            section["sysctl"] = {"net.ipv4.ip_forward": "1"}
    if {"type": "time"} in namespaces:
        section["timeOffsets"] = {"boottime": {"secs": draw(st.integers(0, 1000))}}
    return section


@st.composite
def configurations(draw: st.DrawFn) -> Any:
    """A whole config.json, whose paths and programs need not exist."""
    config = draw(
        members(
            {
                "ociVersion": st.just("1.2.0"),
                "process": processes,
                "root": members({"path": names}, readonly=st.booleans()),
                "linux": linux(),
            },
            mounts=mounts,
            hooks=hooks,
            annotations=st.dictionaries(names, words, max_size=2),
        )
    )
    if any(namespace["type"] == "uts" for namespace in config["linux"]["namespaces"]):
        config["hostname"] = draw(names)
    return config
