"""config.toml: versions, imports, unknown keys, wrong types, and containerd's own files."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri.nri.settings import NriSettings, ValidatorSettings
from cloche.daemon import config, config_command
from cloche.daemon import config_tables as tables
from cloche.daemon.config_check import check, read_span
from cloche.daemon.config_migration import migrate
from cloche.daemon.cri_settings import settings_of
from cloche.daemon.toml_text import dumps
from cloche.errors import InvalidArgument
from tests.peers import peer


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = config.load(str(tmp_path / "none"), missing_ok=True)
    assert loaded.address == "/run/cloche/cloched.sock"
    assert loaded.ttrpc_address == "/run/cloche/cloched.sock.ttrpc"
    assert loaded.warnings == ()
    with pytest.raises(FileNotFoundError):
        config.load(str(tmp_path / "none"))


def test_the_default_is_a_file_that_says_nothing_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_command.run("default", "")
    text = capsys.readouterr().out
    loaded = config.load(write(tmp_path / "config.toml", text))
    assert loaded.values == config.default().values
    assert loaded.warnings == ()
    assert text.startswith("version = 4\nroot = '/var/lib/cloche'\n")


def test_containerds_own_default_is_understood(tmp_path: Path) -> None:
    """Debian's containerd 1.6 writes version 2; only what containerd 2 dropped too is unknown."""
    text = subprocess.run(
        [peer("containerd"), "config", "default"], capture_output=True, text=True, check=True
    )
    loaded = config.load(write(tmp_path / "config.toml", text.stdout))
    assert loaded.address == "/run/containerd/containerd.sock"
    assert loaded.ttrpc_address == "/run/containerd/containerd.sock.ttrpc"
    images, runtime = loaded.plugin(tables.CRI_IMAGES), loaded.plugin(tables.CRI_RUNTIME)
    assert images["pinned_images"] == {"sandbox": "registry.k8s.io/pause:3.6"}
    assert images["snapshotter"] == "overlayfs"
    assert runtime["cni"]["bin_dirs"] == ["/opt/cni/bin"]
    assert runtime["containerd"]["runtimes"]["runc"]["runtime_type"] == "io.containerd.runc.v2"
    assert loaded.plugin(tables.CRI)["stream_idle_timeout"] == "4h0m0s"
    unknown = [line for line in loaded.warnings if "means nothing" in line]
    assert any("systemd_cgroup" in line for line in unknown)
    assert not any("registry" in line or "stream" in line for line in unknown)


VERSION_2 = """
version = 2
disabled_plugins = ["io.containerd.internal.v1.restart"]
[grpc]
  address = "/run/x.sock"
  gid = 7
  tcp_address = "127.0.0.1:99"
[debug]
  level = "debug"
  address = "/run/debug.sock"
[metrics]
  grpc_histogram = true
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause:1"
  enable_selinux = true
  stream_server_port = "10"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      sandbox_mode = "shim"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "/usr/bin/crun"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/cni"
[plugins."io.containerd.internal.v1.restart"]
  interval = "3s"
"""


def test_version_2_is_brought_up_to_date(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path / "config.toml", VERSION_2))
    assert loaded.values["disabled_plugins"] == [tables.RESTART]
    assert loaded.plugin(tables.GRPC)["gid"] == 7
    assert loaded.plugin(tables.GRPC_TCP)["address"] == "127.0.0.1:99"
    assert loaded.plugin(tables.DEBUG)["address"] == "/run/debug.sock"
    assert loaded.plugin(tables.PROMETHEUS)["grpc_histogram"] is True
    assert loaded.values["debug"]["level"] == "debug"
    assert loaded.span_s(tables.RESTART, "interval") == 3
    images, runtime = loaded.plugin(tables.CRI_IMAGES), loaded.plugin(tables.CRI_RUNTIME)
    assert (images["pinned_images"]["sandbox"], images["snapshotter"]) == ("pause:1", "native")
    assert runtime["enable_selinux"] is True
    assert runtime["cni"]["bin_dirs"] == ["/cni"]
    crun = runtime["containerd"]["runtimes"]["crun"]
    assert (crun["sandboxer"], crun["options"]) == ("shim", {"BinaryName": "/usr/bin/crun"})
    assert loaded.plugin(tables.CRI)["stream_server_port"] == "10"
    assert not [line for line in loaded.warnings if "means nothing" in line]


def test_version_1_gets_full_names() -> None:
    tree: dict[str, Any] = {
        "disabled_plugins": ["cri", "tasks-service"],
        "plugins": {"overlayfs": {"root_path": "/x"}, "restart": {"interval": "1s"}},
    }
    migrate(tree, "f")
    assert tree["disabled_plugins"] == [tables.CRI, "io.containerd.service.v1.tasks-service"]
    assert tree["plugins"] == {
        "io.containerd.snapshotter.v1.overlayfs": {"root_path": "/x"},
        tables.RESTART: {"interval": "1s"},
    }


def test_what_the_present_version_says_already_is_not_overwritten() -> None:
    tree: dict[str, Any] = {
        "version": 3,
        "grpc": {"address": "/old"},
        "plugins": {tables.GRPC: {"address": "/new"}},
    }
    assert migrate(tree, "f")["plugins"][tables.GRPC] == {"address": "/new"}


@pytest.mark.parametrize("version", ["5", "0.5", "'2'", "-1", "true"])
def test_a_version_that_nobody_knows_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidArgument, match=r"config\.toml: version"):
        config.load(write(tmp_path / "config.toml", f"version = {version}"))


def test_unknown_keys_are_named_and_ignored(tmp_path: Path) -> None:
    text = "version = 4\nroot = '/r'\nrooot = 1\n[plugins.'io.containerd.gc.v1.scheduler']\npause = 1\n"
    loaded = config.load(write(tmp_path / "config.toml", text))
    assert loaded.values["root"] == "/r"
    path = tmp_path / "config.toml"
    assert loaded.warnings == (
        f"{path}: rooot means nothing to cloched and is ignored",
        f"{path}: plugins.'io.containerd.gc.v1.scheduler'.pause means nothing to cloched and is ignored",
    )


def test_what_is_not_acted_on_is_said_only_where_it_matters(tmp_path: Path) -> None:
    bolt = "[plugins.'io.containerd.metadata.v1.bolt']\nno_sync = true\ncontent_sharing_policy = 'shared'\n"
    text = "version = 4\n[cgroup]\npath = '/c'\n" + bolt
    loaded = config.load(write(tmp_path / "config.toml", text))
    assert loaded.warnings == (
        "cgroup.path has no effect yet",
        "plugins.'io.containerd.metadata.v1.bolt'.no_sync has no effect yet",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root = 3", "root: a text is needed, not 3"),
        ("oom_score = true", "oom_score: a whole number is needed"),
        ("disabled_plugins = [1]", "disabled_plugins: a list of texts is needed"),
        ("debug = 1", "debug: a table is needed"),
        ("plugins = []", "plugins: a table is needed"),
        (
            "[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = 'soon'",
            "startup_delay: 'soon' is no length",
        ),
        ("[timeouts]\nx = '3'", "timeouts.x: '3' is no length of time"),
        ("root = ", "not TOML"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config.load(write(tmp_path / "config.toml", f"version = 4\n{text}"))
    assert message in str(caught.value)
    assert str(tmp_path / "config.toml") in str(caught.value)


def test_imports_are_laid_over(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    main = (
        "version = 3\nroot = '/a'\nimports = ['conf.d/*.toml', 'config.toml']\ndisabled_plugins = ['a.b']\n"
    )
    main += "[plugins.'io.containerd.snapshotter.v1.overlayfs']\nroot_path = '/o'\nsync_remove = true\n"
    main += "[timeouts]\n'io.containerd.timeout.shim.load' = '1s'\n"
    path = write(tmp_path / "config.toml", main)
    write(
        tmp_path / "conf.d/1.toml",
        "version = 3\nroot = ''\noom_score = 5\ndisabled_plugins = ['a.b', 'c.d']\n",
    )
    over = "version = 2\nroot = '/b'\n[grpc]\naddress = '/s'\n"
    over += "[plugins.'io.containerd.snapshotter.v1.overlayfs']\nsync_remove = false\n"
    write(tmp_path / "conf.d/2.toml", over)
    loaded = config.load(path)
    assert (loaded.values["root"], loaded.values["oom_score"], loaded.address) == ("/b", 5, "/s")
    assert loaded.values["disabled_plugins"] == ["a.b", "c.d"]
    overlay = loaded.plugin("io.containerd.snapshotter.v1.overlayfs")
    assert (overlay["root_path"], overlay["sync_remove"]) == ("/o", False)
    assert loaded.values["timeouts"]["io.containerd.timeout.shim.load"] == "1s"
    assert loaded.values["timeouts"]["io.containerd.timeout.task.state"] == "2s"


def test_an_imported_file_may_not_be_newer(tmp_path: Path) -> None:
    path = write(tmp_path / "config.toml", "version = 3\nimports = ['other.toml']\n")
    write(tmp_path / "other.toml", "version = 4\n")
    with pytest.raises(InvalidArgument, match=r"other\.toml: version 4.*config\.toml"):
        config.load(path)


def test_migrate_says_no_more_than_the_file_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "version = 2\n[grpc]\naddress = '/s'\n[proxy_plugins.star]\ntype = 'snapshot'\naddress = '/star'\n"
    config_command.run("migrate", write(tmp_path / "config.toml", text))
    assert tomllib.loads(capsys.readouterr().out) == {
        "version": 4,
        "plugins": {tables.GRPC: {"address": "/s"}, tables.TTRPC: {"address": "/s.ttrpc"}},
        "proxy_plugins": {"star": {"type": "snapshot", "address": "/star"}},
    }


def test_dump_shows_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "config.toml", "version = 4\nroot = '/r'\nbad = 1\n")
    config_command.run("dump", path)
    said = capsys.readouterr()
    expected = config.default().values | {"root": "/r", "bad": 1}
    assert tomllib.loads(said.out) == expected
    assert said.err == f"cloched: warning: {path}: bad means nothing to cloched and is ignored\n"


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
TREES = st.dictionaries(TEXT, VALUES, max_size=5)


@given(TREES)
def test_what_is_written_as_toml_reads_as_it_was(tree: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(tree)) == tree


NAMES = st.sampled_from(
    [
        "root",
        "plugins",
        "debug",
        "grpc",
        "ttrpc",
        "metrics",
        "timeouts",
        "proxy_plugins",
        "imports",
        "disabled_plugins",
    ]
)
INNER = st.sampled_from(
    [
        "address",
        "uid",
        "level",
        tables.CRI,
        tables.GRPC,
        tables.CRI_IMAGES,
        "cri",
        "containerd",
        "cni",
        "runtimes",
        "x",
    ]
)
DEEP = st.recursive(
    st.one_of(
        st.just("a"), st.integers(0, 9), st.booleans(), st.just([]), st.lists(st.integers(0, 1), max_size=1)
    ),
    lambda inner: st.dictionaries(INNER, inner, max_size=4),
    max_leaves=10,
)


@given(st.integers(1, 4), st.dictionaries(NAMES, DEEP, max_size=6))
def test_no_tree_whatsoever_is_worse_than_refused(version: int, tree: dict[str, Any]) -> None:
    try:
        moved = migrate(tree | {"version": version}, "file")
        check(moved, "file")
    except InvalidArgument:
        return
    completed = config.Config(moved)
    assert completed.values["version"] == tables.VERSION
    assert tomllib.loads(dumps(completed.values)) == completed.values


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", 5400), ("100ms", 0.1), ("1.5s", 1.5), ("0", 0), ("", 0), ("-2us", -2e-6)]
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert read_span(text) == pytest.approx(seconds)


@given(st.text("0123456789.hmsnuµ-x ", max_size=10))
def test_a_length_of_time_that_is_none_is_refused(text: str) -> None:
    try:
        read_span(text)
    except InvalidArgument:
        return


@pytest.mark.parametrize(
    "pair",
    ["", 'tls_cert_file = "/c.pem"', 'tls_key_file = "/k.pem"'],
    ids=["neither", "no key", "no certificate"],
)
def test_streams_are_never_plain_where_tls_is_asked_for(tmp_path: Path, pair: str) -> None:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    text = f"version = 3\n[{cri}]\nenable_tls_streaming = true\n[{cri}.x509_key_pair_streaming]\n{pair}\n"
    loaded = config.load(write(tmp_path / "config.toml", text))
    with pytest.raises(InvalidArgument, match="enable_tls_streaming"):
        settings_of(loaded, "/root", "/state")


def test_the_streaming_server_is_where_the_file_says(tmp_path: Path) -> None:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    lines = ["enable_tls_streaming = true", 'stream_server_port = "10010"', 'stream_idle_timeout = "5m"']
    pair = f'[{cri}.x509_key_pair_streaming]\ntls_cert_file = "/c.pem"\ntls_key_file = "/k.pem"'
    text = "\n".join(["version = 3", f"[{cri}]", *lines, pair])
    settings = settings_of(config.load(write(tmp_path / "config.toml", text)), "/root", "/state")
    assert settings is not None
    assert (settings.stream_address, settings.stream_port, settings.stream_idle_s) == (
        "127.0.0.1",
        10010,
        300,
    )
    assert (settings.stream_certificate, settings.stream_key) == ("/c.pem", "/k.pem")


def test_nri_is_as_the_file_says(tmp_path: Path) -> None:
    nri = 'plugins."io.containerd.nri.v1.nri"'
    lines = [
        *(
            'socket_path = "/n"',
            'plugin_path = "/p"',
            'plugin_config_path = "/c"',
            'container_hooks = ["10-a"]',
        ),
        *('plugin_registration_timeout = "1m"', 'plugin_request_timeout = "100ms"'),
        *(f"[{nri}.default_validator]", "enable = true", 'required_plugins = ["b"]', "more = 1"),
    ]
    text = "\n".join(["version = 2", f"[{nri}]", *lines])
    loaded = config.load(write(tmp_path / "config.toml", text))
    settings = settings_of(loaded, "/root", "/state")
    assert settings is not None
    validator = ValidatorSettings(enable=True, required_plugins=("b",))
    assert settings.nri == NriSettings("/n", "/p", "/c", 60.0, 0.1, ("10-a",), validator)
    assert [each.split(": ", 1)[1] for each in loaded.warnings if "nri.v1.nri" in each] == [
        "plugins.'io.containerd.nri.v1.nri'.default_validator.more means nothing to cloched and is ignored"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", NriSettings()),
        ("disable = true", None),
        ("disable_connections = true", NriSettings(socket_path="")),
    ],
    ids=["nobody", "everybody", "who connects"],
)
def test_plugins_can_be_kept_out(tmp_path: Path, line: str, expected: NriSettings | None) -> None:
    text = f'version = 4\n[plugins."io.containerd.nri.v1.nri"]\n{line}\n'
    settings = settings_of(config.load(write(tmp_path / "config.toml", text)), "/root", "/state")
    assert settings is not None
    assert settings.nri == expected


def test_plugins_that_have_no_time_to_answer_are_refused(tmp_path: Path) -> None:
    text = 'version = 4\n[plugins."io.containerd.nri.v1.nri"]\nplugin_request_timeout = "0s"\n'
    loaded = config.load(write(tmp_path / "config.toml", text))
    with pytest.raises(InvalidArgument, match="plugin_request_timeout: '0s' is no time to answer in"):
        settings_of(loaded, "/root", "/state")
