"""CNI with Debian's plugins, and with plugins that misbehave in every way we could think of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from cloche.network.cni import Cni
from tests import peers
from tests.network.conftest import ask, links, serving

PLUGINS = "/usr/lib/cni"
ID = "0123456789abcdef"


@pytest.fixture
def plugins(machine: None) -> str:
    """The folder of Debian's plugins."""
    if not os.path.exists(f"{PLUGINS}/bridge"):
        peers.unavailable("needs CNI plugins: apt-get install containernetworking-plugins")
    peers.peer("iptables")
    return PLUGINS


def bridge(leases: Path, **further: Any) -> dict[str, Any]:
    """A usual bridge with published ports, as kubeadm's documents have it."""
    ranges = [[{"subnet": "10.213.0.0/24"}], [{"subnet": "fd00:213::/64"}]]
    ipam = {
        "type": "host-local",
        "dataDir": str(leases),
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {"type": "bridge", "bridge": "cni-t0", "isGateway": True, "ipMasq": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ],
        **further,
    }


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Cni]:
    """place({"name": document}, folder…): a Cni with these configurations."""

    def make(files: dict[str, Any], *folders: str, **settings: Any) -> Cni:
        conf = tmp_path / "net.d"
        conf.mkdir(exist_ok=True)
        for name, value in files.items():
            (conf / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return Cni(str(conf), folders, str(tmp_path / "state"), **settings)

    return make


def taken(leases: Path) -> set[str]:
    """The addresses that host-local has given out."""
    return {path.name for path in leases.glob("*/*") if path.name[0].isdigit() or path.name[0] == "f"}


def chains() -> list[str]:
    """Rules of iptables that speak of our container."""
    shown = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if ID[:12] in line]


def test_a_container_is_added_reached_checked_and_deleted(
    plugins: str, place: Callable[..., Cni], new_namespace: Callable[[], str], leases: Path
) -> None:
    cni = place({"10-pods.conflist": bridge(leases)}, plugins)
    netns = new_namespace()
    cni.status()
    result = cni.add(
        netns,
        ID,
        port_mappings=[{"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}],
        capability_args={"bandwidth": {"ingressRate": 10_000_000, "ingressBurst": 10_000_000}},
    )
    assert [ip.address for ip in result.ips] == ["10.213.0.2/24", "fd00:213::2/64"]
    assert [ip.interface for ip in result.ips] == ["eth0", "eth0"]
    assert result.ips[0].gateway == "10.213.0.1"
    assert {each.destination for each in result.routes} == {"0.0.0.0/0", "::/0"}
    assert result.unserved == ()
    assert result.raw["cniVersion"] == "1.0.0"
    assert {"lo", "eth0"} <= links(netns)
    with serving(netns, 80):
        assert ask("10.213.0.2", 80) == b"hello"
        assert ask("fd00:213::2", 80) == b"hello"
        assert ask("10.213.0.1", 18080) == b"hello"
    assert chains()
    assert cni.result(ID) == result
    assert cni.pending() == ()
    cni.delete(ID)
    assert taken(leases) == set()
    assert not chains()
    assert "eth0" not in links(netns)
    assert not os.listdir(cni.state_dir)
    cni.delete(ID)  # once more is no error


def test_a_container_whose_namespace_is_gone_gives_its_address_back(
    plugins: str, place: Callable[..., Cni], new_namespace: Callable[[], str], leases: Path
) -> None:
    cni = place({"10-pods.conflist": bridge(leases)}, plugins)
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as holder:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/thread-self/ns/net"):
            time.sleep(0.01)
        cni.add(f"/proc/{holder.pid}/ns/net", ID)
    assert taken(leases)
    cni.delete(ID)
    assert taken(leases) == set()


def test_the_first_files_by_name_are_the_networks(
    plugins: str, place: Callable[..., Cni], new_namespace: Callable[[], str], leases: Path
) -> None:
    second = bridge(leases, name="more")
    second["plugins"] = [
        {
            **second["plugins"][0],
            "bridge": "cni-t1",
            "ipMasq": False,
            "ipam": {"type": "host-local", "dataDir": str(leases), "subnet": "10.214.0.0/24"},
        }
    ]
    single = {"cniVersion": "0.3.1", "name": "old", "type": "loopback"}
    files = {"20-more.conflist": second, "10-pods.conflist": bridge(leases), "30-old.conf": single}
    cni = place(files, plugins, max_conf_num=2)
    netns = new_namespace()
    result = cni.add(netns, ID)
    assert [(each.network, each.interface) for each in result.attachments] == [
        ("pods", "eth0"),
        ("more", "eth1"),
    ]
    assert {"eth0", "eth1"} <= links(netns)
    cni.delete(ID)
    assert taken(leases) == set()
    assert [each.name for each in place({}, plugins).networks()] == ["pods"]
    assert [each.name for each in place({}, plugins, max_conf_num=0).networks()] == ["pods", "more", "old"]


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "0.4.0", "1.0.0"])
def test_older_configurations_are_read_and_answered(
    plugins: str, place: Callable[..., Cni], new_namespace: Callable[[], str], leases: Path, version: str
) -> None:
    ipam = {"type": "host-local", "dataDir": str(leases), "subnet": "10.215.0.0/24"}
    single = {"cniVersion": version, "name": "old", "type": "bridge", "bridge": "cni-t2", "ipam": ipam}
    cni = place({"old.conf": single}, plugins)
    netns = new_namespace()
    assert cni.add(netns, ID).ips[0].address == "10.215.0.2/24"
    cni.check(ID)
    subprocess.run(["nsenter", f"--net={netns}", "ip", "link", "delete", "eth0"], check=True)
    if version >= "0.4.0":
        with pytest.raises(FailedPrecondition, match="CHECK of 'old'"):
            cni.check(ID)
    cni.delete(ID)
    assert taken(leases) == set()


# Plugins of our own: shell, since each may be called dozens of times.

GOOD = 'echo "{\\"cniVersion\\":\\"1.0.0\\",\\"ips\\":[{\\"address\\":\\"10.0.0.9/24\\"}]}"'
LOG = """
here=$(dirname "$0")
me=$(basename "$0")
echo "$CNI_COMMAND $me" >> "$here/calls"
cat > "$here/$me.$CNI_COMMAND"
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., str]:
    """own(name="shell text"): a folder with these plugins."""

    def make(**texts: str) -> str:
        folder = tmp_path / "plugins"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(f"#!/bin/sh\n{LOG}{text}\n")
            (folder / name).chmod(0o755)
        return str(folder)

    return make


def conflist(*kinds: str, **further: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": kind} for kind in kinds], **further}


def calls(folder: str) -> list[str]:
    path = Path(folder, "calls")
    return path.read_text().splitlines() if path.exists() else []


def given(folder: str, plugin: str, command: str) -> Any:
    """What a plugin was last given as its input."""
    return json.loads(Path(folder, f"{plugin}.{command}").read_text())


@pytest.fixture
def netns(root: None) -> str:
    """A path that is a network namespace: none of these plugins does anything to it."""
    return "/proc/self/ns/net"


def test_results_are_chained_and_handed_to_del_in_reverse(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own(one=GOOD, two="cat > /dev/null; " + GOOD.replace("10.0.0.9", "10.0.0.10"))
    cni = place({"a.conflist": conflist("one", "two")}, folder)
    result = cni.add(netns, ID, args={"K8S_POD_NAME": "pod"}, capability_args={"mac": "02:00:00:00:00:01"})
    assert result.unserved == ("mac",)
    assert "prevResult" not in given(folder, "one", "ADD")
    assert given(folder, "two", "ADD")["prevResult"]["ips"] == [{"address": "10.0.0.9/24"}]
    cni.delete(ID)
    assert calls(folder) == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert given(folder, "one", "DEL")["prevResult"]["ips"] == [{"address": "10.0.0.10/24"}]


def test_capabilities_reach_those_who_declare_them(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own(one=GOOD, two=GOOD)
    config = conflist("one", "two")
    config["plugins"][1]["capabilities"] = {"portMappings": True, "aliases": True, "dns": False}
    ports = [{"hostPort": 1, "containerPort": 2, "protocol": "udp"}]
    asked = {"aliases": {"net": ["db"]}, "dns": {"servers": ["10.0.0.1"]}}
    cni = place({"a.conflist": config}, folder)
    result = cni.add(netns, ID, port_mappings=ports, capability_args=asked)
    assert result.unserved == ("dns",)
    assert "runtimeConfig" not in given(folder, "one", "ADD")
    assert given(folder, "two", "ADD")["runtimeConfig"] == {
        "portMappings": ports,
        "aliases": asked["aliases"],
    }
    cni.delete(ID)
    assert given(folder, "two", "DEL")["runtimeConfig"]["portMappings"] == ports


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("echo garbage", FailedPrecondition, "its output: not JSON"),
        ("echo '[]'", FailedPrecondition, "no JSON object"),
        ("true", FailedPrecondition, "printed no result"),
        ('echo \'{"ips": [{"address": "10.0.0.300/24"}]}\'', InvalidArgument, "is no address"),
        ('echo \'{"ips": [{"address": "10.0.0.3/24", "interface": 4}]}\'', InvalidArgument, "0 interfaces"),
        ("echo oops >&2; exit 3", FailedPrecondition, "exit status 3: oops"),
        (
            'echo \'{"code": 7, "msg": "no room", "details": "at all"}\'; exit 1',
            FailedPrecondition,
            "no room: at all",
        ),
        ('echo \'{"code": 11, "msg": "busy"}\'; exit 1', Unavailable, "busy"),
        ("exec sleep 100", DeadlineExceeded, "not done after 0.3 s"),
        ("sleep 100 & wait", DeadlineExceeded, "killed"),
        ("yes", DeadlineExceeded, "killed"),
        ("kill -9 $$", FailedPrecondition, "137"),
    ],
)
def test_a_plugin_that_misbehaves_is_reported_and_all_are_deleted(
    own: Callable[..., str],
    place: Callable[..., Cni],
    netns: str,
    text: str,
    error: type[Exception],
    words: str,
) -> None:
    folder = own(good=GOOD, bad=f'[ "$CNI_COMMAND" = DEL ] || {{ {text}; }}')
    cni = place({"a.conflist": conflist("good", "bad")}, folder, timeout_s=0.3)
    with pytest.raises(error, match=words):
        cni.add(netns, ID)
    assert calls(folder) == ["ADD good", "ADD bad", "DEL bad", "DEL good"]
    assert cni.pending() == ()
    assert not os.listdir(cni.state_dir)


def test_what_a_plugin_has_started_ends_with_it_where_it_is_killed(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own(slow='[ "$CNI_COMMAND" = DEL ] || { sleep 4321 & wait; }')
    with pytest.raises(DeadlineExceeded):
        place({"a.conflist": conflist("slow")}, folder, timeout_s=0.3).add(netns, ID)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x004321\x00" not in commands


def test_a_del_that_fails_is_tried_until_it_holds(
    own: Callable[..., str], place: Callable[..., Cni], netns: str, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    folder = own(good=GOOD, bad=f"[ ! -e {blocked} ] || {{ echo stuck >&2; exit 1; }}; {GOOD}")
    cni = place({"a.conflist": conflist("good", "bad")}, folder)
    cni.add(netns, ID)
    blocked.touch()
    with pytest.raises(FailedPrecondition, match="stuck"):
        cni.delete(ID)
    # The one behind it has been deleted all the same.
    assert calls(folder)[-2:] == ["DEL bad", "DEL good"]
    assert cni.pending() == (ID,)
    assert "stuck" in cni.retry()[ID]
    # Not even the network's file, or another container of that id, changes what is owed.
    Path(cni.conf_dir, "a.conflist").unlink()
    blocked.unlink()
    assert cni.retry() == {}
    assert cni.pending() == ()
    assert not os.listdir(cni.state_dir)


def test_an_id_that_is_there_is_refused_and_a_half_one_is_made_anew(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own(good=GOOD)
    cni = place({"a.conflist": conflist("good")}, folder)
    cni.add(netns, ID)
    with pytest.raises(AlreadyExists):
        cni.add(netns, ID)
    Path(cni.state_dir, ID, "result-0.json").unlink()
    assert cni.pending() == (ID,)
    cni.add(netns, ID)
    assert calls(folder) == ["ADD good", "DEL good", "ADD good"]
    cni.delete(ID)


def test_killed_at_any_moment_nothing_is_forgotten(
    own: Callable[..., str], place: Callable[..., Cni], netns: str, tmp_path: Path
) -> None:
    """kill -9 before, in and between the plugins; then `retry` calls DEL where an ADD was begun."""
    source = str(Path(__file__).parents[2] / "src")
    for victim in ("one", "two"):
        for moment in ("before", "after"):
            kill = '[ "$CNI_COMMAND" = DEL ] || kill -9 $PPID'
            text = f"{kill}; {GOOD}" if moment == "before" else f"{GOOD}; sleep 0.1; {kill}"
            folder = own(**{"one": GOOD, "two": GOOD, victim: text})
            Path(folder, "calls").unlink(missing_ok=True)
            cni = place({"a.conflist": conflist("one", "two")}, folder)
            code = (
                f"import sys; sys.path.insert(0, {source!r}); from cloche.network.cni import Cni; "
                f"Cni({cni.conf_dir!r}, [{folder!r}], {cni.state_dir!r}).add({netns!r}, {ID!r})"
            )
            ended = subprocess.run([sys.executable, "-c", code], check=False)
            assert ended.returncode == -9
            assert cni.pending() == (ID,), (victim, moment)
            assert cni.retry() == {}
            assert calls(folder)[-2:] == ["DEL two", "DEL one"]
            assert not os.listdir(cni.state_dir)


def test_gc_deletes_what_is_not_valid_and_tells_new_plugins(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own(good=GOOD.replace("1.0.0", "1.1.0"))
    cni = place({"a.conflist": conflist("good", cniVersion="1.1.0")}, folder)
    for number in range(3):
        cni.add(netns, f"c{number}")
    cni.status()
    assert calls(folder)[-1] == "STATUS good"
    assert cni.gc({"c1"}) == {}
    assert calls(folder)[-3:] == ["DEL good", "DEL good", "GC good"]
    assert given(folder, "good", "GC")["cni.dev/valid-attachments"] == [
        {"containerID": "c1", "ifname": "eth0"}
    ]
    assert os.listdir(cni.state_dir) == ["c1"]
    cni.delete("c1")


def test_a_path_that_is_another_namespace_by_now_is_not_given_to_del(
    own: Callable[..., str], place: Callable[..., Cni], new_namespace: Callable[[], str], tmp_path: Path
) -> None:
    folder = own(good='echo "$CNI_COMMAND at [$CNI_NETNS]" >> "$here/where"; ' + GOOD)
    cni = place({"a.conflist": conflist("good")}, folder)
    link = tmp_path / "netns"
    link.symlink_to(new_namespace())
    cni.add(str(link), ID)
    link.unlink()
    link.symlink_to(new_namespace())
    cni.delete(ID)
    assert Path(folder, "where").read_text().splitlines() == [f"ADD at [{link}]", "DEL at []"]


def test_without_a_configuration_or_a_plugin_it_says_so(
    own: Callable[..., str], place: Callable[..., Cni], netns: str
) -> None:
    folder = own()
    cni = place({}, folder)
    with pytest.raises(Unavailable, match="no network config found"):
        cni.status()
    cni = place({"a.conflist": conflist("missing")}, folder)
    with pytest.raises(NotFound, match="'missing' is not in"):
        cni.status()
    with pytest.raises(NotFound, match="no such network namespace"):
        cni.add("/proc/0/ns/net", ID)
    for bad in ("../x", "", "a/b", "x" * 300):
        with pytest.raises(InvalidArgument, match="container id"):
            cni.add(netns, bad)
