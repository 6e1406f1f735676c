"""What went over a pod's network interfaces, as its namespace shows them in /proc."""

from __future__ import annotations

from cloche.cri.measuring import number
from cloche.spec.record import Record
from cloche.store import clock
from cloche.wire.messages.cri.stats import NetworkInterfaceUsage, NetworkUsage

_COLUMNS = 16


class Interface(Record):
    """Counters since the interface was made."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse(text: str) -> list[Interface]:
    """/proc/PID/net/dev; what is no line of it is left out."""
    found = []
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        values = rest.split()
        if colon and len(values) >= _COLUMNS and all(value.isdecimal() for value in values):
            numbers = [int(value) for value in values]
            found.append(Interface(name.strip(), *numbers[0:4], *numbers[8:12]))
    return found


def of(pid: int) -> list[Interface]:
    """The interfaces of a process's network but the loopback one; none where it has ended."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            return [each for each in parse(file.read()) if each.name != "lo"]
    except OSError:
        return []


def usage(pid: int) -> NetworkUsage:
    """As clients get it."""
    found = [
        NetworkInterfaceUsage(
            name=each.name,
            rx_bytes=number(each.rx_bytes),
            rx_errors=number(each.rx_errors),
            tx_bytes=number(each.tx_bytes),
            tx_errors=number(each.tx_errors),
        )
        for each in of(pid)
    ]
    default = next((each for each in found if each.name == "eth0"), found[0] if found else None)
    return NetworkUsage(
        timestamp=clock.now(),
        default_interface=default,
        interfaces=[each for each in found if each is not default],
    )
