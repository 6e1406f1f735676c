"""What every command is given: the global settings, and the engine once it is needed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cli.arguments import Parsed
    from cloche.engine.engine import Engine

DEFAULT_ROOT = "/var/lib/cloche"
DEFAULT_STATE = "/run/cloche"
DEFAULT_NAMESPACE = "default"


class Session:
    """One invocation of the command. `engine` opens the stores at its first use."""

    __slots__ = ("_engine", "address", "debug", "namespace", "root", "state")

    def __init__(self, flags: Parsed, environment: Mapping[str, str]) -> None:
        self.root = flags.text("root") or environment.get("CLOCHE_ROOT") or DEFAULT_ROOT
        self.state = flags.text("state") or environment.get("CLOCHE_STATE") or DEFAULT_STATE
        self.address = (
            flags.text("address") or environment.get("CLOCHE_ADDRESS") or f"{self.state}/cloched.sock"
        )
        self.namespace = flags.text("namespace") or environment.get("CLOCHE_NAMESPACE") or DEFAULT_NAMESPACE
        self.debug = flags.on("debug")
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The library, opened on this session's root, state and namespace."""
        return self._engine or self.open()

    def open(self, snapshotter: str | None = None) -> Engine:
        """The same, with another snapshotter than the default one."""
        from cloche.engine.engine import Engine

        options = {"snapshotter": snapshotter} if snapshotter else {}
        self._engine = Engine(self.root, self.state, self.namespace, **options)
        return self._engine

    def close(self) -> None:
        """Close the engine if it was opened."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
