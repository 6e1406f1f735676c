"""A container's networks by CNI plugins, as kubelet's runtimes and containerd have them made.

    add       intent on disk -> ADD of each plugin of each network, each given the last one's result
    delete    DEL of all of them in reverse, with the result of ADD -> the record is removed
    pending   what a DEL is still owed to: a failed one, or an ADD that a crash cut short

Whoever uses it calls `retry` now and then: a DEL that fails stays on record until one succeeds, so
that no address leaks (CNI specification 1.1, sections 2 to 4).
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, ClocheError, DataLoss, FailedPrecondition, NotFound, Unavailable
from cloche.network import cni_config, cni_plugin, cni_result
from cloche.network.cni_records import Entry, Intent, namespace_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import Any

    from cloche.network.cni_config import Network
    from cloche.network.cni_result import Result

CONF_DIR = "/etc/cni/net.d"
PLUGIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni")
PLUGIN_TIMEOUT_S = 60.0


class Cni:
    """The networks that a folder of configurations describes. Any thread may call; calls block."""

    def __init__(
        self,
        conf_dir: str = CONF_DIR,
        plugin_dirs: Sequence[str] = PLUGIN_DIRS,
        state_dir: str = "/var/lib/cloche/cni",
        *,
        max_conf_num: int = 1,
        interface_prefix: str = "eth",
        timeout_s: float = PLUGIN_TIMEOUT_S,
    ) -> None:
        """max_conf_num: how many of the configurations, in the order of their names, every container
        is in; 0 for all. interface_prefix: of the interfaces' names inside. timeout_s: for each call
        of a plugin. state_dir: has to survive a reboot, as the plugins' own records do.
        """
        self.conf_dir = conf_dir
        self.plugin_dirs = tuple(plugin_dirs)
        self.state_dir = state_dir
        self._limit = max_conf_num
        self._prefix = interface_prefix
        self._timeout_s = timeout_s

    def networks(self) -> tuple[Network, ...]:
        """As the folder is now. Raises InvalidArgument for a wrong file, Unavailable where there is none."""
        found = cni_config.load(self.conf_dir, self._limit)
        if not found:
            raise Unavailable(f"{self.conf_dir}: no network config found: cni plugin not initialized")
        return found

    def add(
        self,
        netns_path: str,
        container_id: str,
        *,
        port_mappings: Sequence[Mapping[str, Any]] = (),
        capability_args: Mapping[str, Any] | None = None,
        args: Mapping[str, str] | None = None,
    ) -> Result:
        """Bring a container into every network.

        port_mappings: hostPort, containerPort, protocol and hostIP each. capability_args: the values
        of other capabilities (bandwidth, ipRanges, dns, aliases, ips, mac …), given to the plugins that
        declare them. args: CNI_ARGS.

        Where a plugin fails, what the others made is deleted again, and its error is raised (see
        `cni_plugin.execute`); where even that fails it stays in `pending`. Raises AlreadyExists for a
        container that has its networks, NotFound where there is no such network namespace.
        """
        capabilities = dict(capability_args or {})
        if port_mappings:
            capabilities["portMappings"] = [dict(each) for each in port_mappings]
        namespace = namespace_at(netns_path)
        if namespace is None:
            raise NotFound(f"{netns_path}: no such network namespace")
        networks = tuple(
            (network, f"{self._prefix}{number}") for number, network in enumerate(self.networks())
        )
        for _, interface in networks:
            cni_config.check_interface(interface)
        intent = Intent(container_id, netns_path, namespace, networks, capabilities, args or {})
        with Entry(self.state_dir, container_id, make=True) as entry:
            self._clear(entry)
            entry.write(intent)
            try:
                for number in range(len(networks)):
                    self._add(entry, intent, number)
                return self._result(entry, intent)
            except BaseException as error:
                try:
                    self._delete(entry, intent)
                    entry.remove()
                except (ClocheError, OSError) as left:
                    error.add_note(f"and its DEL, which is tried again later: {left}")
                raise

    def delete(self, container_id: str) -> None:
        """Take a container out of its networks. One that is not on record is left alone.

        Every network is tried. Raises the first plugin's error; the record stays for `retry` then.
        """
        try:
            entry = Entry(self.state_dir, container_id)
            entry.take()
        except NotFound:
            return
        with entry:
            intent = entry.read()
            if intent is not None:
                self._delete(entry, intent)
            entry.remove()

    def check(self, container_id: str) -> None:
        """Have the plugins look whether all is as they made it. Raises what they say, and NotFound."""
        with Entry(self.state_dir, container_id) as entry:
            intent = entry.read()
            if intent is None or not entry.complete(intent):
                raise FailedPrecondition(f"container {container_id}: its networks are not complete")
            for number, (network, _) in enumerate(intent.networks):
                if network.at_least("0.4.0") and not network.disable_check:
                    previous = entry.result(number)
                    for plugin in network.plugins:
                        self._call("CHECK", intent, number, plugin, previous)

    def result(self, container_id: str) -> Result:
        """What `add` returned. Raises NotFound, and FailedPrecondition where it has not succeeded."""
        with Entry(self.state_dir, container_id) as entry:
            intent = entry.read()
            if intent is None or not entry.complete(intent):
                raise FailedPrecondition(f"container {container_id}: its networks are not complete")
            return self._result(entry, intent)

    def status(self) -> None:
        """Whether containers can be added now. Raises Unavailable, NotFound or InvalidArgument if not.

        Plugins of 1.1 and newer are asked; of older ones it is seen that they are there.
        """
        for network in self.networks():
            for plugin in network.plugins:
                cni_plugin.find(plugin["type"], self.plugin_dirs)
                if network.at_least("1.1.0"):
                    self._execute("STATUS", self._input(network, plugin, {}, None))

    def pending(self) -> tuple[str, ...]:
        """The containers that a DEL is owed to and that nobody is at work on."""
        return tuple(container_id for container_id in self._recorded() if self._is_owed(container_id))

    def retry(self) -> dict[str, str]:
        """Delete all that is `pending`: container -> why it could not go this time."""
        failed = {}
        for container_id in self.pending():
            try:
                self.delete(container_id)
            except (ClocheError, OSError) as error:
                failed[container_id] = str(error)
        return failed

    def gc(self, valid: Collection[str]) -> dict[str, str]:
        """Delete what belongs to none of these containers, and have plugins of 1.1 do the same.

        Returns what could not go, and why: by container, or by network for what the plugins said.
        """
        failed = {}
        for container_id in [each for each in self._recorded() if each not in valid]:
            try:
                self.delete(container_id)
            except (ClocheError, OSError) as error:
                failed[container_id] = str(error)
        attachments = list(self._attachments(valid))
        for network in self.networks():
            if network.disable_gc or not network.at_least("1.1.0"):
                continue
            mine = [attachment for name, attachment in attachments if name == network.name]
            for plugin in network.plugins:
                asked = self._input(network, plugin, {}, None) | {"cni.dev/valid-attachments": mine}
                try:
                    self._execute("GC", asked)
                except ClocheError as error:
                    failed.setdefault(network.name, str(error))
        return failed

    def _recorded(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.state_dir) if entry.is_dir())
        except FileNotFoundError:
            return []

    def _is_owed(self, container_id: str) -> bool:
        entry = Entry(self.state_dir, container_id)
        try:
            if not entry.take(wait=False):
                return False
        except NotFound:
            return False
        with entry:
            try:
                intent = entry.read()
            except DataLoss:
                return True
            return intent is None or not entry.complete(intent)

    def _attachments(self, valid: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """(network, attachment) of every container that is valid."""
        for container_id in self._recorded():
            if container_id in valid:
                with Entry(self.state_dir, container_id) as entry:
                    intent = entry.read()
                for network, interface in intent.networks if intent else ():
                    yield network.name, {"containerID": container_id, "ifname": interface}

    def _clear(self, entry: Entry) -> None:
        """Before an ADD: delete what an earlier one left half."""
        intent = entry.read()
        if intent is None:
            return
        if entry.complete(intent):
            raise AlreadyExists(f"container {entry.id}: it is in its networks already; delete it first")
        self._delete(entry, intent)
        entry.clear()

    def _add(self, entry: Entry, intent: Intent, number: int) -> None:
        network, interface = intent.networks[number]
        previous: dict[str, Any] | None = None
        for plugin in network.plugins:
            previous = self._call("ADD", intent, number, plugin, previous)
            if previous is None:
                raise FailedPrecondition(f"CNI plugin {plugin['type']!r} (ADD): it printed no result")
            previous.setdefault("cniVersion", network.version)
            # What is no result must not become the next plugin's.
            cni_result.parse(previous, network.name, interface, network.version)
        entry.write_result(number, previous or {})

    def _delete(self, entry: Entry, intent: Intent) -> None:
        """DEL of every plugin, the last first: also of those behind one that fails, whose error is raised.

        An address must not stay taken because a rule of a firewall could not go.
        """
        entry.mark_deleting()
        first: ClocheError | None = None
        for number in reversed(range(len(intent.networks))):
            network, _ = intent.networks[number]
            previous = entry.result(number) if network.at_least("0.4.0") else None
            for plugin in reversed(network.plugins):
                try:
                    self._call("DEL", intent, number, plugin, previous)
                except ClocheError as error:
                    first = first or error
        if first is not None:
            raise first

    def _result(self, entry: Entry, intent: Intent) -> Result:
        attachments = tuple(
            cni_result.parse(entry.result(number) or {}, network.name, interface, network.version)
            for number, (network, interface) in enumerate(intent.networks)
        )
        served = {name for network, _ in intent.networks for name in network.capabilities()}
        unserved = tuple(
            name for name, value in intent.capability_args.items() if value and name not in served
        )
        return cni_result.Result(attachments, unserved)

    def _call(
        self,
        command: str,
        intent: Intent,
        number: int,
        plugin: Mapping[str, Any],
        previous: Mapping[str, Any] | None,
    ) -> dict[str, Any] | None:
        network, interface = intent.networks[number]
        asked = self._input(network, plugin, intent.capability_args, previous)
        netns = intent.netns_now() if command == "DEL" else intent.netns
        return self._execute(
            command,
            asked,
            container_id=intent.container_id,
            netns=netns,
            interface=interface,
            args=intent.args,
        )

    def _execute(
        self,
        command: str,
        asked: Mapping[str, Any],
        *,
        container_id: str = "",
        netns: str = "",
        interface: str = "",
        args: Mapping[str, str] | None = None,
    ) -> dict[str, Any] | None:
        call = cni_plugin.Call(command, container_id, netns, interface, args or {}, self.plugin_dirs)
        return cni_plugin.execute(call, asked, timeout_s=self._timeout_s)

    @staticmethod
    def _input(
        network: Network,
        plugin: Mapping[str, Any],
        capability_args: Mapping[str, Any],
        previous: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """A plugin's configuration for one call."""
        asked = {key: value for key, value in plugin.items() if key != "capabilities"}
        asked |= {"name": network.name, "cniVersion": network.version}
        given = {key: capability_args[key] for key in cni_config.declared(plugin) if capability_args.get(key)}
        if given:
            asked["runtimeConfig"] = given
        if previous is not None:
            asked["prevResult"] = previous
        return asked
