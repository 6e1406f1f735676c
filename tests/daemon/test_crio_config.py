"""crio.conf: what it says in our words, what is named as not acted on, and what is refused with its place."""

from __future__ import annotations

import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri.defaults import Defaults, Ulimit, Workload, add
from cloche.cri.nri.settings import NriSettings, ValidatorSettings
from cloche.cri.settings import Settings
from cloche.daemon import config, config_tables, crio_tables
from cloche.daemon.cri_settings import settings_of
from cloche.daemon.crio_config import Crio, load
from cloche.daemon.toml_text import dumps
from cloche.errors import ClocheError, InvalidArgument

# As distributions ship it, with what the guide changes of it.
WHOLE = f"""
[crio]
storage_driver = "overlay"
[crio.api]
stream_address = "127.0.0.1"
stream_port = "4711"
[crio.runtime]
default_runtime = "crun"
conmon = "/usr/bin/conmon"
conmon_cgroup = "pod"
cgroup_manager = "cgroupfs"
pids_limit = 2048
default_ulimits = ["nofile=1024:2048", "core=-1"]
default_sysctls = ["net.ipv4.ping_group_range=0 0"]
default_env = ["A=1"]
selinux = false
no_pivot = true
cdi_spec_dirs = ["/etc/cdi"]
[crio.runtime.runtimes.crun]
runtime_path = "{sys.executable}"
runtime_type = "oci"
runtime_root = "/run/crun"
monitor_cgroup = "/machine/monitors"
allowed_annotations = ["io.containers.trace-syscall"]
privileged_without_host_devices = true
[crio.runtime.runtimes.kata]
runtime_path = "{sys.executable}"
runtime_type = "vm"
[crio.runtime.runtimes.missing]
runtime_path = "/nowhere/at-all"
[crio.runtime.runtimes.heir]
inherit_default_runtime = true
[crio.runtime.workloads.management]
activation_annotation = "target.workload.openshift.io/management"
annotation_prefix = "resources.workload.openshift.io"
[crio.runtime.workloads.management.resources]
cpushares = 22
cpuset = "0-1"
[crio.image]
pause_image = "registry.example/pause:1"
pinned_images = ["registry.example/keep:1"]
insecure_registries = ["registry.example:5000"]
[crio.network]
network_dir = "/etc/my/net.d"
plugin_dirs = ["/opt/one", "/opt/two"]
[crio.metrics]
enable_metrics = true
metrics_port = 9999
[crio.made_up]
key = 1
"""


def read(tmp_path: Path, text: str, **drop_ins: str) -> Crio:
    file = tmp_path / "crio.conf"
    file.write_text(text)
    for name, inner in drop_ins.items():
        (tmp_path / "crio.conf.d").mkdir(exist_ok=True)
        (tmp_path / "crio.conf.d" / f"{name}.conf").write_text(inner)
    return load(str(file))


def settings(crio: Crio) -> Settings:
    found = settings_of(crio.over(config.default()), "/r", "/s", crio)
    assert found
    return found


def test_a_whole_file_is_what_pods_get(tmp_path: Path) -> None:
    crio = read(tmp_path, WHOLE)
    found = settings(crio)
    crun, kata, heir = (found.handlers[name] for name in ("crun", "kata", "heir"))
    assert found.default_handler == "crun"
    assert (crun.binary_name, crun.runtime_root) == (sys.executable, "/run/crun")
    assert (crun.host_devices, crun.systemd_cgroup, crun.monitor_cgroup) == (
        False,
        False,
        "/machine/monitors",
    )
    assert crun.pod_annotations == crun.container_annotations == ("io.containers.trace-syscall*",)
    assert (kata.runtime, kata.binary_name) == (sys.executable, "")
    assert (heir.binary_name, heir.runtime_root, heir.pod_annotations) == (sys.executable, "/run/crun", ())
    assert "missing" not in found.handlers
    assert found.pause_image == "registry.example/pause:1"
    assert set(found.pinned) == {"registry.example/keep:1", "registry.example/pause:1"}
    assert (found.network_config, found.network_plugins) == ("/etc/my/net.d", ("/opt/one", "/opt/two"))
    assert found.hosts_dir.startswith("/s/crio/hosts:")
    assert (found.stream_port, found.cdi_directories) == (4711, ("/etc/cdi",))
    assert crio.over(config.default()).plugin(config_tables.METRICS)["address"] == "127.0.0.1:9999"
    assert found.defaults == Defaults(
        2048,
        (Ulimit("RLIMIT_NOFILE", 1024, 2048), Ulimit("RLIMIT_CORE", -1, -1)),
        (("net.ipv4.ping_group_range", "0 0"),),
        ("A=1",),
        workloads=(
            Workload(
                "management",
                "target.workload.openshift.io/management",
                "resources.workload.openshift.io",
                22,
                "0-1",
            ),
        ),
    )


def test_what_has_no_effect_is_named_and_nothing_else(tmp_path: Path) -> None:
    warnings = read(tmp_path, WHOLE).warnings
    assert all(str(tmp_path) in each for each in warnings)
    said = {each.removeprefix(f"{tmp_path}/crio.conf: ") for each in warnings}
    assert said == {
        "crio.made_up means nothing to cloched and is ignored",
        "crio.runtime.conmon has no effect yet",
        "crio.runtime.no_pivot has no effect yet",
        (
            "crio.runtime.runtimes.missing.runtime_path: there is no program '/nowhere/at-all': "
            "the handler is left out"
        ),
    }


def test_plugins_of_nri_are_where_the_file_says(tmp_path: Path) -> None:
    lines = [
        *("[crio.nri]", 'nri_listen = "/n"', 'nri_plugin_dir = "/p"', 'nri_plugin_request_timeout = "1s"'),
        *("[crio.nri.default_validator]", "nri_enable_default_validator = true"),
        *("nri_validator_reject_namespace_adjustment = true", 'nri_validator_required_plugins = ["b"]'),
    ]
    crio = read(tmp_path, "\n".join(lines))
    validator = ValidatorSettings(enable=True, reject_namespace_adjustment=True, required_plugins=("b",))
    assert settings(crio).nri == NriSettings("/n", "/p", request_s=1.0, validator=validator)
    assert crio.warnings == ()
    assert settings(read(tmp_path, "[crio.nri]\nenable_nri = false\n")).nri is None


def test_the_folders_files_are_laid_over_it_in_their_order(tmp_path: Path) -> None:
    crio = read(
        tmp_path,
        '[crio.runtime]\npids_limit = 1\ndefault_runtime = "cloche"\n'
        '[crio.runtime.runtimes.cloche]\nruntime_root = "/one"\n',
        b='[crio.runtime]\npids_limit = 3\n[crio.runtime.runtimes.cloche]\nallowed_annotations = ["x"]\n',
        a='[crio.runtime]\npids_limit = 2\n[crio.network]\nnetwork_dir = "/a"\n',
    )
    found = settings(crio)
    assert (found.defaults.pids, found.network_config) == (3, "/a")
    cloche = found.handlers["cloche"]
    assert (cloche.runtime_root, cloche.pod_annotations, cloche.binary_name) == ("", ("x*",), "")


def test_an_empty_file_changes_no_default_of_ours(tmp_path: Path) -> None:
    crio = read(tmp_path, "")
    assert settings(crio) == settings_of(config.default(), "/r", "/s")
    assert crio.warnings == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[crio.runtime]\npids_limit = 'many'\n", "crio.runtime.pids_limit: a whole number"),
        ("[crio.runtime]\ndefault_ulimits = ['nofile']\n", "crio.runtime.default_ulimits"),
        ("[crio.runtime]\ndefault_ulimits = ['nofile=-5:1']\n", "crio.runtime.default_ulimits"),
        ("[crio.runtime]\ndefault_sysctls = ['vm.swappiness=1']\n", "crio.runtime.default_sysctls"),
        ("[crio.runtime]\ndefault_env = ['=1']\n", "crio.runtime.default_env"),
        ("[crio.runtime]\ndefault_runtime = 'no-such-program'\n", "runtimes.no-such-program.runtime_path"),
        ("[crio.runtime]\ncgroup_manager = 'none'\n[crio.runtime.runtimes.cloche]\n", "cgroup_manager"),
        ("[crio.runtime.runtimes.x]\nruntime_type = 'pony'\n", "crio.runtime.runtimes.x.runtime_type"),
        ("[crio.runtime.workloads.x]\n", "crio.runtime.workloads.x.activation_annotation"),
        ("[crio.image]\nimage_volumes = 'some'\n", "crio.image.image_volumes"),
        ("[crio.image]\ninsecure_registries = 'all'\n", "crio.image.insecure_registries: a list"),
        ("crio = 1\n", "crio: a table"),
        ("[crio\n", "not TOML"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    text = text.replace(
        "[crio.runtime.runtimes.x]",
        "[crio.runtime]\ndefault_runtime = 'cloche'\n" + "[crio.runtime.runtimes.x]",
    )
    with pytest.raises(InvalidArgument) as refused:
        read(tmp_path, text)
    assert place in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_registries_without_certificates_have_files_that_say_so(tmp_path: Path) -> None:
    crio = read(tmp_path, '[crio.image]\ninsecure_registries = ["a.example:5000", "10.0.0.0/8", ".."]\n')
    assert crio.insecure == ("a.example:5000",)
    assert len([each for each in crio.warnings if "is no host" in each]) == 2
    crio.write_insecure(str(tmp_path / "hosts"))
    crio.write_insecure(str(tmp_path / "hosts"))
    told = tomllib.loads((tmp_path / "hosts/a.example:5000/hosts.toml").read_text())
    assert list(told["host"]) == ["https://a.example:5000", "http://a.example:5000"]


def _document() -> Any:
    return {"process": {"env": ["A=0", "B=1"]}, "root": {"path": "x"}, "linux": {"resources": {}}}


def test_a_container_gets_the_defaults_and_its_workloads_resources() -> None:
    defaults = Defaults(
        7,
        (Ulimit("RLIMIT_CORE", -1, -1),),
        environment=("A=2", "C=3"),
        read_only=True,
        workloads=(Workload("w", "on", "p", 5, "0"),),
    )
    document = _document()
    add(document, defaults, {"on": ""}, "one")
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}]
    assert document["process"]["env"] == ["A=0", "B=1", "C=3"]
    assert document["root"]["readonly"]
    assert document["linux"]["resources"] == {"pids": {"limit": 7}, "cpu": {"shares": 5, "cpus": "0"}}
    document = _document()
    add(document, defaults, {"on": "", "p/one": '{"cpushares": 9}', "p.cpuset/one": "1"}, "one")
    assert document["linux"]["resources"]["cpu"] == {"shares": 9, "cpus": "1"}
    add(_document(), defaults, {"p/one": "nonsense"}, "one")
    with pytest.raises(InvalidArgument, match="annotation p/one"):
        add(_document(), defaults, {"on": "", "p/one": "[]"}, "one")
    with pytest.raises(InvalidArgument, match="cpushares"):
        add(_document(), defaults, {"on": "", "p/one": '{"cpushares": "all"}'}, "one")


_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(min_size=1, max_size=10), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.data())
def test_whatever_a_file_says_it_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sections = crio_tables.TOP["crio"]
    section = data.draw(
        st.sampled_from([name for name, inner in sections.items() if isinstance(inner, dict)])
    )
    key = data.draw(st.sampled_from(sorted(sections[section])))
    document: dict[str, Any] = {"crio": {section: {key: data.draw(_values)}}}
    place = tmp_path_factory.mktemp("crio")
    try:
        text = dumps(document)
    except (ValueError, TypeError):
        return
    with suppress(ClocheError):
        settings(read(place, text))
    (place / "crio.conf").unlink()
    place.rmdir()


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    place = tmp_path_factory.mktemp("crio")
    (place / "crio.conf").write_bytes(data)
    with suppress(InvalidArgument):
        load(str(place / "crio.conf"))
    (place / "crio.conf").unlink()
    place.rmdir()
