"""The part of a plan that keeps kernel parameters from the host: a joined namespace may be its own."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.runtime.caller import CallerOperation, Performing
from cloche.runtime.plan import CALLER, Step
from cloche.runtime.plan_namespaces import PROC_NAMES, wanted
from cloche.spec.sysctl import owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.runtime.operations import Slot
    from cloche.spec.config import Config


class RequireOtherNamespace(CallerOperation):
    """Compare a namespace that will be joined with the caller's own: a sysctl must not change that.

    key: the sysctl that asks. name: below /proc/PID/ns.
    """

    namespace: Slot
    name: str
    key: str

    def perform(self, performing: Performing) -> None:
        """See the class."""
        theirs = os.fstat(performing.descriptors[self.namespace])
        if os.path.samestat(theirs, os.stat(f"/proc/self/ns/{self.name}")):
            raise InvalidArgument(
                f"config.json: linux.sysctl[{self.key!r}]: is not allowed in the host's {self.name} "
                "namespace, which the container joins: give it another one, or leave the sysctl out"
            )


def checked_sysctls(config: Config) -> Iterator[Step]:
    """Whether the namespaces that sysctls belong to are the host's; the configuration cannot tell."""
    joined = {kind for kind, path in wanted(config).items() if path}
    for key in config.get("linux", {}).get("sysctl", {}):
        kind = owner(key)
        if kind in joined:
            check = RequireOtherNamespace(f"namespace:{kind}", PROC_NAMES[kind], key)
            yield Step(f"linux.sysctl[{key!r}]", CALLER, check)
