"""The built-in network: containers are reached, and nothing of them is left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from tests import peers
from tests.network.conftest import Stand, ask, links
from tests.shim.starting import parent
from tests.waiting import wait_until

PONG = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 53))
print(flush=True)
while True:
    server.sendto(b"pong", server.recvfrom(100)[1])
"""


def address_of(stand: Stand, name: str, network: str = "bridge") -> str:
    return str(stand.cloche.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def test_a_server_is_reached_from_the_host_from_a_container_and_over_its_port(stand: Stand) -> None:
    stand.serve("web", "-p", "8080:80")
    address = address_of(stand, "web")
    assert ask(address, 80) == b"hello"
    assert stand.in_container("nc", address, "80") == "hello"
    for host in ("127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"):
        assert ask(host, 8080) == b"hello", host
    assert stand.from_neighbour("192.0.2.1", 8080) == b"hello"
    assert stand.from_neighbour("2001:db8::1", 8080) == b"hello"
    # Also by the host's address from a container of the same network, and from itself.
    assert stand.in_container("nc", "192.0.2.1", "8080") == "hello"
    assert stand.ok("exec", "web", "busybox", "nc", "192.0.2.1", "8080") == "hello"


def test_a_container_sees_its_network_and_no_other(stand: Stand) -> None:
    shown = stand.in_container("ip", "-o", "address")
    assert re.search(r"eth0 +inet 10\.\d+\.0\.\d+/16", shown), shown
    assert "uplink" not in shown
    assert stand.in_container("ip", "route").startswith("default via 10.")
    shown = stand.in_container("ip", "-o", "link", network="none")
    assert "eth0" not in shown
    assert "uplink" in stand.in_container("ip", "-o", "link", network="host")


def test_what_leaves_a_container_has_the_hosts_address(stand: Stand) -> None:
    command = ["nsenter", f"--net={stand.neighbour}", "busybox", "nc", "-l", "-p", "7000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            wait_until(lambda: _listens(stand.neighbour, 7000), what="a server outside")
            stand.in_container("sh", "-c", "echo from inside | nc -w 2 192.0.2.2 7000")
            assert server.communicate(timeout=10)[0] == b"from inside\n"
        finally:
            server.kill()


def _listens(namespace: str, port: int) -> bool:
    shown = subprocess.run(
        ["nsenter", f"--net={namespace}", "busybox", "netstat", "-ltn"],
        capture_output=True,
        text=True,
        check=True,
    )
    return f":{port} " in shown.stdout


def test_an_unpublished_port_is_not_reached_from_outside(stand: Stand) -> None:
    stand.serve("web")
    address = address_of(stand, "web")
    assert ask(address, 80) == b"hello"
    route = ["ip", "route", "replace", f"{address}/32", "via", "192.0.2.1"]
    subprocess.run(["nsenter", f"--net={stand.neighbour}", *route], check=True)
    assert stand.from_neighbour(address, 80) == b""


def test_one_network_is_not_reached_from_another(stand: Stand) -> None:
    stand.ok("network", "create", "other")
    stand.serve("web")
    assert stand.in_container("nc", "-w", "1", address_of(stand, "web"), "80", network="other") == ""


@pytest.mark.parametrize("mode", ["nat", "proxy"])
def test_ports_of_udp_and_of_one_address_are_published(stand: Stand, mode: str) -> None:
    flags = (
        "--publish-mode",
        mode,
        "-p",
        "5300:53/udp",
        "-p",
        "192.0.2.1:5301:53/udp",
        "-p",
        "[::1]:5302:53/udp",
    )
    stand.serve("udp", *flags)
    namespace = f"--net=/proc/{stand.cloche.inspect('udp')['State']['Pid']}/ns/net"
    with subprocess.Popen(
        ["nsenter", namespace, sys.executable, "-c", PONG], stdout=subprocess.PIPE
    ) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            addresses = [(host, 5300) for host in ("127.0.0.1", "192.0.2.1", "::1", "2001:db8::1")]
            for host, port in [*addresses, ("192.0.2.1", 5301), ("::1", 5302)]:
                assert wait_until(partial(_ping, host, port), what=f"{host} {port}") == b"pong"
            assert _ping("127.0.0.1", 5301) == b""
        finally:
            server.kill()
    rules = stand.rules()
    assert ("udp . 5300" in rules) == (mode == "nat")
    assert "5302" not in rules


def _ping(host: str, port: int) -> bytes:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.5)
        try:
            asking.connect((host, port))
            asking.send(b"ping")
            return asking.recv(100)
        except OSError:
            return b""


def test_a_proxy_obeys_the_hosts_firewall_and_a_rule_passes_it_by(stand: Stand) -> None:
    stand.serve("obeys", "-p", "8081:80", "--publish-mode", "proxy")
    stand.serve("passes", "-p", "8082:80")
    assert ask("192.0.2.1", 8081) == ask("192.0.2.1", 8082) == b"hello"
    firewall = (
        "table inet host { chain input { type filter hook input priority 0; tcp dport 8080-8089 drop; }; }"
    )
    subprocess.run(["nft", "-f", "-"], input=firewall, text=True, check=True)
    try:
        assert stand.from_neighbour("192.0.2.1", 8081) == b""
        assert stand.from_neighbour("192.0.2.1", 8082) == b"hello"
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "host"], check=True)


def test_a_port_that_is_taken_is_an_error_and_nothing_is_left(stand: Stand) -> None:
    stand.serve("first", "-p", "8080:80")
    for detached in (("-d",), ()):
        said = stand.cloche.run(
            "run", *detached, "--rm", "-p", "9090:90", "-p", "8080:80", "net", "busybox", "true"
        )
        assert said.returncode == 125
        assert b"0.0.0.0:8080: port is already allocated" in said.stderr
        assert said.stderr.count(b"\n") == 1
        assert "9090" not in stand.rules()
    (record,) = (stand.state / "containers").iterdir()
    assert json.loads(record.read_text())["name"] == "first"
    with socket.socket() as holder:
        holder.bind(("192.0.2.1", 8443))
        assert "already allocated" in stand.cloche.refused(
            "run", "-p", "192.0.2.1:8443:443", "net", "busybox", "true", status=125
        )


def test_ports_are_shown_and_chosen(stand: Stand) -> None:
    stand.serve("many", "-p", "127.0.0.1::80", "-p", "9000-9003:81", "-P", "--expose", "82/udp")
    shown = stand.ok("port", "many").splitlines()
    assert any(re.fullmatch(r"80/tcp -> 127\.0\.0\.1:\d+", line) for line in shown)
    assert "81/tcp -> 0.0.0.0:9000" in shown
    assert "81/tcp -> [::]:9000" in shown
    assert any(line.startswith("82/udp -> 0.0.0.0:") for line in shown)
    assert stand.ok("port", "many", "81").splitlines() == ["0.0.0.0:9000", "[::]:9000"]
    assert "0.0.0.0:9000->81/tcp" in stand.ok("ps", "--format", "{{.Ports}}")
    bindings = stand.cloche.inspect("many")["NetworkSettings"]["Ports"]["81/tcp"]
    assert bindings == [{"HostIp": "0.0.0.0", "HostPort": "9000"}, {"HostIp": "::", "HostPort": "9000"}]
    stand.serve("next", "-p", "9000-9003:81")
    assert "81/tcp -> 0.0.0.0:9001" in stand.ok("port", "next")


def test_names_are_known_in_a_network_that_was_made_also_of_those_who_join_later(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    stand.ok("network", "create", "yours")
    stand.serve("first", "--network", "mine")
    assert "can't find" in stand.ok("exec", "first", "busybox", "sh", "-c", "nslookup late 2>&1 || true")
    container = stand.serve("late", "--network", "mine", "--network-alias", "www")
    for name in ("late", "www", "late.mine", container[:12], "LATE"):
        assert stand.ok("exec", "first", "busybox", "nc", name, "80") == "hello", name
    assert stand.in_container("nc", "first", "80", network="mine") == "hello"
    assert "bad address" in _errors(stand, "nc", "first", "80", network="yours")
    address = address_of(stand, "late", "mine")
    assert "late.mine" in stand.ok("exec", "first", "busybox", "nslookup", address)
    stand.ok("rm", "-f", "late")
    assert "can't find" in stand.ok("exec", "first", "busybox", "sh", "-c", "nslookup late 2>&1 || true")


def _errors(stand: Stand, *words: str, network: str) -> str:
    return stand.cloche.run("run", "--rm", "--network", network, "net", "busybox", *words).stderr.decode()


ANSWERS = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("192.0.2.2", 53))
print(flush=True)
while True:
    query, client = server.recvfrom(500)
    kind = query[-3]
    found = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4\\12\\1\\2\\3" if kind == 1 else b""
    head = query[:2] + b"\\x81\\x80\\0\\1\\0" + bytes((bool(found),)) + b"\\0\\0\\0\\0"
    server.sendto(head + query[12:] + found, client)
"""


def test_other_names_are_asked_of_the_hosts_servers(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    command = ["nsenter", f"--net={stand.neighbour}", sys.executable, "-c", ANSWERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            words = ("run", "--rm", "--network", "mine", "--dns", "192.0.2.2", "net", "busybox", "nslookup")
            assert "Address: 10.1.2.3" in stand.ok(*words, "outside.example")
        finally:
            server.kill()


def test_a_name_server_in_the_container_may_have_port_53(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    stand.serve("dns", "--network", "mine", port=53)
    assert ask(address_of(stand, "dns", "mine"), 53) == b"hello"
    assert stand.ok("exec", "dns", "busybox", "nc", "dns", "53") == "hello"


def test_a_network_of_both_families(stand: Stand) -> None:
    stand.ok("network", "create", "--ipv6", "--subnet", "10.99.0.0/24", "--subnet", "fd99::/64", "both")
    stand.serve("web", "--network", "both", "--ip", "10.99.0.77", "--ip6", "fd99::77", "-p", "8080:80")
    assert ask("10.99.0.77", 80) == ask("fd99::77", 80) == b"hello"
    for host in ("127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"):
        assert ask(host, 8080) == b"hello", host
    assert stand.from_neighbour("2001:db8::1", 8080) == b"hello"
    assert "tcp . 8080 : fd99::77 . 80" in stand.rules()
    assert "is already in use" in stand.cloche.refused(
        "run", "--network", "both", "--ip", "10.99.0.77", "net", "busybox", "true", status=125
    )
    assert "contains 10.98.0.1" in stand.cloche.refused(
        "run", "--network", "both", "--ip", "10.98.0.1", "net", "busybox", "true", status=125
    )


def test_an_internal_network_leads_nowhere(stand: Stand) -> None:
    stand.ok("network", "create", "--internal", "inner")
    stand.serve("web", "--network", "inner")
    assert stand.in_container("nc", "web", "80", network="inner") == "hello"
    assert "default" not in stand.in_container("ip", "route", network="inner")


def test_containers_come_and_go_while_they_run(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    stand.serve("web", "-p", "8080:80")
    stand.ok("network", "connect", "--alias", "www", "mine", "web")
    assert stand.in_container("nc", "www", "80", network="mine") == "hello"
    # It knows names as well from now on.
    stand.serve("peer", "--network", "mine", says="peer")
    assert stand.ok("exec", "web", "busybox", "nc", "peer", "80") == "peer"
    assert "in network mine already" in stand.cloche.refused("network", "connect", "mine", "web")
    stand.ok("stop", "-t", "0", "web")
    stand.ok("start", "web")
    assert stand.in_container("nc", "www", "80", network="mine") == "hello"
    assert ask("127.0.0.1", 8080) == b"hello"
    stand.ok("network", "disconnect", "bridge", "web")
    assert "8080" not in stand.rules()
    assert ask("127.0.0.1", 8080, timeout_s=0) == b""
    assert stand.in_container("nc", "web", "80", network="mine") == "hello"
    assert "is not in network bridge" in stand.cloche.refused("network", "disconnect", "bridge", "web")


def test_a_container_keeps_its_network_over_stop_and_start(stand: Stand) -> None:
    stand.serve("web", "-p", "8080:80", "--mac-address", "02:00:00:00:00:99")
    for _ in range(2):
        assert ask("127.0.0.1", 8080) == b"hello"
        assert "02:00:00:00:00:99" in stand.ok("exec", "web", "busybox", "ip", "link")
        stand.ok("restart", "-t", "0", "web")
    stand.ok("stop", "-t", "0", "web")
    assert stand.left() == []
    assert "8080" not in stand.rules()


def test_many_start_at_once_and_each_has_its_own_address(stand: Stand) -> None:
    words = ("run", "--rm", "-p", "80", "net", "busybox", "ip", "-o", "-4", "address", "show", "eth0")
    started = [stand.cloche.start(*words) for _ in range(8)]
    said = [process.communicate(timeout=60) for process in started]
    assert [errors for _, errors in said if errors] == []
    assert len({output.split()[3] for output, _ in said}) == 8


def test_the_library_runs_in_a_network(stand: Stand) -> None:
    place = stand.cloche.place
    with Engine(str(place / "root"), str(place / "state")) as engine:
        stand.serve("web", "-p", "8080:80")
        result = engine.run(
            "net", ["busybox", "nc", address_of(stand, "web"), "80"], network="bridge", timeout_s=30
        )
        assert result.stdout == b"hello"
        alone = engine.run("net", ["busybox", "ip", "-o", "link"], timeout_s=30)
        assert b"eth0" not in alone.stdout
    assert [Path(record).name[:12] for record in stand.left()[:1]] == [stand.cloche.inspect("web")["Id"][:12]]


def test_two_containers_share_a_network(stand: Stand) -> None:
    stand.serve("web")
    command = ("run", "--rm", "--network", "container:web", "net", "busybox", "nc", "127.0.0.1", "80")
    assert stand.ok(*command) == "hello"


def test_networks_are_listed_shown_and_removed(stand: Stand) -> None:
    network_id = stand.ok("network", "create", "--label", "a=b", "--subnet", "10.98.0.0/16", "mine").strip()
    assert [line.split()[1:] for line in stand.ok("network", "ls").splitlines()[1:]] == [
        ["bridge", "bridge", "local"],
        ["host", "host", "local"],
        ["mine", "bridge", "local"],
        ["none", "null", "local"],
    ]
    assert stand.ok("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b").strip() == network_id
    stand.serve("web", "--network", "mine")
    (document,) = json.loads(stand.ok("network", "inspect", network_id[:8]))
    assert document["IPAM"]["Config"] == [{"Subnet": "10.98.0.0/16", "Gateway": "10.98.0.1"}]
    assert [each["IPv4Address"] for each in document["Containers"].values()] == ["10.98.0.2/16"]
    assert "active endpoints (web)" in stand.cloche.refused("network", "rm", "mine")
    assert "already exists" in stand.cloche.refused("network", "create", "mine")
    assert "route to 10.98.0.0/16" in stand.cloche.refused(
        "network", "create", "--subnet", "10.98.3.0/24", "x"
    )
    assert "route to 192.0.2.0/24" in stand.cloche.refused(
        "network", "create", "--subnet", "192.0.2.0/24", "x"
    )
    assert "pre-defined" in stand.cloche.refused("network", "rm", "bridge")
    assert "not found" in stand.cloche.refused("run", "--network", "nobody", "net", "true", status=125)
    stand.ok("rm", "-f", "web")
    assert f"cl-{network_id[:12]}" in links()
    stand.ok("network", "rm", "mine")
    assert f"cl-{network_id[:12]}" not in links()


def test_explain_prints_the_very_rules_that_are_made(stand: Stand) -> None:
    """What it prints, given to nft on an empty machine, comes to what the kernel has here."""
    stand.ok("network", "create", "--ipv6", "mine")
    stand.serve("web", "--network", "mine", "-p", "8080:80", "-p", "192.0.2.1:8081:81/udp")
    explained = stand.ok("network", "explain", "web")
    made = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    again = subprocess.run(
        ["unshare", "--net", "sh", "-c", "nft -f - && nft list ruleset"],
        input=explained,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert again == made
    assert "8080" in made
    before = stand.ok("network", "explain", "-p", "8090:80")
    assert "tcp . 8090 : 10." in before
    assert "tcp . 8090" not in stand.ok("network", "explain", "-p", "8090:80", "--publish-mode", "proxy")


def test_where_the_kernel_has_only_iptables_it_is_rules_of_iptables(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = peers.peer("iptables-save")

    def saved(program: str = save) -> str:
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout

    stand.ok("network", "prune", "--force")
    monkeypatch.setitem(stand.cloche.environment, "CLOCHE_FIREWALL", "iptables")
    stand.ok("network", "create", "--ipv6", "both")
    stand.serve("web", "--network", "both", "-p", "8080:80", "-p", "192.0.2.1:8081:80")
    stand.serve("plain", "-p", "8082:80")
    for port in (8080, 8082):
        for host in ("127.0.0.1", "::1", "192.0.2.1"):
            assert ask(host, port) == b"hello", (host, port)
        assert stand.from_neighbour("192.0.2.1", port) == b"hello"
    assert stand.from_neighbour("192.0.2.1", 8081) == b"hello"
    assert stand.in_container("nc", "192.0.2.1", "8082") == "hello"
    assert stand.in_container("nc", "-w", "1", address_of(stand, "web", "both"), "80") == ""
    rules = [
        line.partition("--to-destination ")[2] for line in stand.ok("network", "explain", "web").splitlines()
    ]
    assert [target for target in rules if target and "[" not in target and target not in saved()] == []
    assert any(rules)
    stand.ok("rm", "-f", "web", "plain")
    wait_until(lambda: "80 -j DNAT" not in saved() and ":80" not in saved(), what="the end of its rules")
    stand.ok("network", "prune", "--force")
    assert "CLOCHE" not in saved() + saved(save.replace("iptables", "ip6tables"))
    # What is left of iptables' own tables is not ours.
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def test_chains_of_others_that_drop_what_is_forwarded_are_named(stand: Stand) -> None:
    docker = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    assert "FORWARD" not in stand.cloche.run("info").stderr.decode()
    subprocess.run(["nft", "-f", "-"], input=docker, text=True, check=True)
    try:
        assert "# chain ip filter FORWARD drops by default" in stand.ok("network", "explain", "-p", "80:80")
        assert "chain ip filter FORWARD drops what is forwarded" in stand.cloche.run("info").stderr.decode()
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "filter"], check=True)


def test_rules_that_somebody_has_flushed_come_back_with_the_next_start(stand: Stand) -> None:
    stand.serve("web", "-p", "8080:80")
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    stand.serve("next", "-p", "8081:80")
    for port in (8080, 8081):
        assert ask("192.0.2.1", port) == b"hello"
        assert f"tcp . {port}" in stand.rules()


def test_the_proxy_passes_much_and_the_end_of_each_direction(stand: Stand) -> None:
    stand.ok(
        "run",
        "-d",
        "--name",
        "echo",
        "-p",
        "127.0.0.1:8080:80",
        "net",
        "busybox",
        "nc",
        "-ll",
        "-p",
        "80",
        "-e",
        "cat",
    )
    data = os.urandom(1 << 20) * 8
    assert ask_after("127.0.0.1", 8080, b"x") == b"x"
    assert ask_after("127.0.0.1", 8080, data) == data


def ask_after(host: str, port: int, data: bytes) -> bytes:
    """What comes back of data, whose end is told before."""
    command = ["busybox", "nc", host, str(port)]

    def asked() -> bytes:
        return subprocess.run(command, input=data, capture_output=True, check=False, timeout=60).stdout

    return wait_until(asked, what="an echo")


def test_hosts_and_resolver_files_say_what_the_network_is(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    words = ("run", "--rm", "--hostname", "me", "--add-host", "db:192.0.2.9", "--dns", "192.0.2.53", "net")
    shown = stand.ok(*words, "busybox", "cat", "/etc/hosts", "/etc/resolv.conf")
    assert re.search(r"^10\.\d+\.0\.\d+\tme$", shown, re.MULTILINE)
    assert "192.0.2.9\tdb" in shown
    assert "nameserver 192.0.2.53" in shown
    shown = stand.in_container("cat", "/etc/resolv.conf", network="mine")
    assert "nameserver 127.0.0.11\n" in shown


def test_a_program_that_is_not_there_leaves_nothing(stand: Stand) -> None:
    for flags in (("--rm",), ("-d", "--rm"), ("--name", "kept")):
        said = stand.cloche.run("run", *flags, "-p", "8080:80", "net", "nothing-there")
        assert said.returncode == 127
        wait_until(lambda: not stand.left(), what=f"an end of {stand.left()}")
        assert "8080" not in stand.rules()


def test_a_renamed_container_is_known_by_its_new_name(stand: Stand) -> None:
    stand.ok("network", "create", "mine")
    stand.serve("web", "--network", "mine")
    stand.ok("rename", "web", "net2")
    assert stand.in_container("nc", "net2", "80", network="mine") == "hello"


def test_ports_of_a_container_without_a_bridge_are_said_not_to_be_published(stand: Stand) -> None:
    said = stand.cloche.run("run", "--rm", "--network", "none", "-p", "80", "net", "busybox", "true")
    assert (said.returncode, said.stderr) == (0, b"cloche: ports are not published: the network is none\n")


def test_a_killed_parent_leaves_nothing_that_the_next_command_does_not_clear(stand: Stand) -> None:
    started = stand.cloche.start("run", "--rm", "-p", "8080:80", "net", "busybox", "sleep", "1000")
    wait_until(lambda: "8080" in stand.rules(), what="a rule")
    started.send_signal(signal.SIGKILL)
    started.communicate()
    stand.ok("ps")
    wait_until(lambda: not stand.left(), what="the end of it")
    assert "8080" not in stand.rules()


def test_a_killed_shim_leaves_a_network_until_its_container_has_ended(stand: Stand) -> None:
    stand.serve("web", "-p", "8080:80")
    assert ask("192.0.2.1", 8080) == b"hello"
    pid = stand.cloche.inspect("web")["State"]["Pid"]
    shim = parent(pid)
    os.kill(shim, signal.SIGKILL)
    guard = wait_until(lambda: (found := parent(pid)) != shim and found)
    os.kill(guard, signal.SIGKILL)
    assert ask("192.0.2.1", 8080) == b"hello"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    findings = stand.cloche.run("fsck").stdout.decode()
    assert "its ports and addresses are still taken" in findings
    assert "repaired: give them back" in stand.cloche.run("fsck", "--repair").stdout.decode()
    wait_until(lambda: not stand.left(), what="the end of it")
    assert "8080" not in stand.rules()


def test_fsck_gives_back_what_nobody_has(stand: Stand) -> None:
    stand.serve("web", "-p", "8080:80")
    (lease,) = (stand.state / "leases").glob("*/*")
    (lease.parent / "10.180.9.9").symlink_to("f" * 64)
    (table,) = re.findall(r"^table inet (cloche-[0-9a-f]+)", stand.rules(), re.MULTILINE)
    stray = f"add element inet {table} ports4 {{ tcp . 9999 : 10.180.9.9 . 80 }}"
    subprocess.run(["nft", stray], check=True)
    said = stand.cloche.run("fsck").stdout.decode()
    assert said.count("network ") == 2, said
    assert "rule of port 9999" in said
    said = stand.cloche.run("fsck", "--repair").stdout.decode()
    assert said.count("repaired") == 2, said
    assert stand.cloche.run("fsck").stdout == b""
    assert "9999" not in stand.rules()
    assert ask("192.0.2.1", 8080) == b"hello"


_KILLED = """
import os, sys
sys.path[:0] = {paths!r}
left = {moment}
def count(frame, event, argument):
    global left
    if event in ("call", "c_call") and "/cloche/network/" in frame.f_code.co_filename:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
sys.argv = {argv!r}
sys.setprofile(count)
from cloche.cli.main import main
main()
"""


@pytest.mark.parametrize("detached", [True, False])
def test_killed_at_any_step_nothing_is_left(stand: Stand, detached: bool) -> None:
    """kill -9 at the n-th call of a function of the network, for n all over the start of a container."""
    paths = [str(Path(__file__).parents[2] / "src"), *sys.path]
    how = ("-d", "--name", "victim") if detached else ("--rm", "--name", "victim")
    command = ("run", *how, "-p", "8080:80", "--network", "bridge", "net", "busybox", "true")
    reached = []
    for moment in range(1, 2000, 79):
        argv = [stand.cloche.command, *command]
        code = _KILLED.format(paths=paths, moment=moment, argv=argv)
        environment = stand.cloche.environment
        ended = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=False
        )
        assert ended.returncode in (-9, 0), ended
        reached.append(ended.returncode == -9)
        stand.cloche.run("rm", "-f", "victim")
        stand.ok("ps")
        wait_until(lambda: not stand.left(), what=f"an end of {stand.left()} after step {moment}")
        assert "8080" not in stand.rules()
        if ended.returncode == 0:
            break
    assert sum(reached) > 5, reached
    assert not all(reached)
