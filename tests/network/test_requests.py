"""What users write about networks and ports: read, or refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.network import addresses, requests
from cloche.network.addresses import Subnet
from cloche.network.requests import Endpoint, Port


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [Port(80)]),
        ("8080:80", [Port(80, "tcp", "", 8080)]),
        ("8080:80/udp", [Port(80, "udp", "", 8080)]),
        ("8080:80/TCP", [Port(80, "tcp", "", 8080)]),
        ("127.0.0.1:8080:80", [Port(80, "tcp", "127.0.0.1", 8080)]),
        ("127.0.0.1::80", [Port(80, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [Port(80, "tcp", "::1", 8080)]),
        ("[0:0::1]::80", [Port(80, "tcp", "::1")]),
        ("8000-8001:80-81", [Port(80, "tcp", "", 8000), Port(81, "tcp", "", 8001)]),
        ("80-81", [Port(80), Port(81)]),
        ("8000-8010:80", [Port(80, "tcp", "", 8000, 8010)]),
        ("0:80", [Port(80)]),
    ],
)
def test_ports_are_read_as_docker_reads_them(text: str, ports: list[Port]) -> None:
    assert requests.ports(text) == tuple(ports)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "::", "0", "80:0", "65536", "80/sctp", "x", "80:x", "1:2:3", "8000-8001:80-82", "81-80"),
        *("::1:8080:80", "[127.0.0.1]:80:80", "[::1]80", "300.0.0.1:80:80", "127.0.0.1:80", "-1", "8 0", "٣"),
    ],
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid publish"):
        requests.ports(text)


@given(st.text(alphabet=st.sampled_from("0123456789:.-/[]abftudpc \0é"), max_size=30))
def test_any_text_is_ports_or_refused(text: str) -> None:
    try:
        read = requests.ports(text)
    except InvalidArgument as error:
        words = str(error)
    else:
        words = ""
        assert all(0 < port.container_port < 65536 and 0 <= port.host_port < 65536 for port in read)
        assert read
    assert "\n" not in words


def test_a_network_is_a_name_or_named_fields() -> None:
    assert requests.endpoint("mine") == Endpoint("mine")
    assert requests.endpoint("container:x=y") == Endpoint("container:x=y")
    text = "name=mine,alias=a,alias=b,ip=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01"
    assert requests.endpoint(text) == Endpoint("mine", ("a", "b"), "10.0.0.2", "fd00::2", "02:00:00:00:00:01")
    for wrong in ("alias=a", "name=a,name=b", "name=a,x=1", "name=a,b"):
        with pytest.raises(InvalidArgument):
            requests.endpoint(wrong)


def test_addresses_of_an_endpoint_are_checked() -> None:
    requests.check((Endpoint("a", ip="10.0.0.2", ip6="fd00::1", mac="02:00:00:00:00:01"),))
    for wrong in (
        (Endpoint("a", ip="fd00::1"),),
        (Endpoint("a", ip6="10.0.0.1"),),
        (Endpoint("a", ip="10.0.0.300"),),
        (Endpoint("a", mac="01:00:00:00:00:01"),),
        (Endpoint("a", mac="02-00"),),
        (Endpoint("a"), Endpoint("a")),
    ):
        with pytest.raises(InvalidArgument):
            requests.check(wrong)


@given(st.text(alphabet=st.sampled_from("0123456789:./abcdef"), max_size=24))
def test_any_text_is_a_subnet_or_refused(text: str) -> None:
    try:
        subnet = Subnet.parse(text)
    except InvalidArgument as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert Subnet.parse(str(subnet)) == subnet


@given(st.integers(0, 2**32 - 1), st.integers(8, 30), st.data())
def test_a_free_address_is_one_and_the_next(number: int, length: int, data: st.DataObject) -> None:
    first = number & -(1 << 32 - length)
    subnet = Subnet(first.to_bytes(4, "big"), length)
    begin, end = subnet.usable()
    taken = {
        subnet.host(begin + each)
        for each in data.draw(st.sets(st.integers(0, min(end - begin, 50)), max_size=20))
    }
    last = data.draw(st.sampled_from([b"", *sorted(taken)]))
    found = addresses.free(subnet, taken, last)
    if found is None:
        assert len(taken) == end - begin + 1
    else:
        assert found in subnet
        assert found not in taken
        assert found not in (subnet.address, subnet.host(subnet.first + subnet.size - 1))


def test_subnets_are_chosen_beside_those_that_are_used() -> None:
    used = [Subnet.parse("10.180.0.0/14"), Subnet.parse("10.184.3.0/24")]
    found = addresses.free_subnet(used)
    assert str(found) == "10.185.0.0/16"
    assert addresses.free_subnet([Subnet.parse("0.0.0.0/0")]) is None
    with pytest.raises(InvalidArgument, match=r"10\.1\.0\.0/16 is meant"):
        Subnet.parse("10.1.2.3/16")
