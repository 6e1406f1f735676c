"""The sets and maps that the rules of networks look into (`network.rules`).

bridges      names of our bridges               networks4/6   their subnets
same         each of them twice: in and out     ports4/6      published on every address
internal     those that lead nowhere            ports_at4/6   published on one address
"""

from __future__ import annotations

from cloche.kernel.nftables import ADDRESS4, ADDRESS6, INTERFACE, PORT, PROTOCOL, Set

BRIDGES = Set("bridges", INTERFACE)
SAME = Set("same", INTERFACE + INTERFACE)
INTERNAL = Set("internal", INTERFACE)
NETWORKS = {4: Set("networks4", ADDRESS4, ranges=True), 6: Set("networks6", ADDRESS6, ranges=True)}
PORTS = {
    4: Set("ports4", PROTOCOL + PORT, ADDRESS4 + PORT),
    6: Set("ports6", PROTOCOL + PORT, ADDRESS6 + PORT),
}
PORTS_AT = {
    4: Set("ports_at4", ADDRESS4 + PROTOCOL + PORT, ADDRESS4 + PORT),
    6: Set("ports_at6", ADDRESS6 + PROTOCOL + PORT, ADDRESS6 + PORT),
}
SETS = (BRIDGES, SAME, INTERNAL, *NETWORKS.values(), *PORTS.values(), *PORTS_AT.values())
