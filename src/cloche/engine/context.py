"""Where an engine keeps things and what it works with; made once by the engine, given to all its parts.

ROOT  meta.db · content/ · snapshots/ · leases/ · volumes/NAME/_data · trash/
      containers/NAMESPACE/ID/   hostname, hosts, resolv.conf, log.json, started.json, exit.json
      ephemeral/OWNER/           what `Engine.run` needs while the process OWNER lives
STATE NAMESPACE/ID/              the runtime's state of a container that runs
      .run/NAMESPACE/ID/         its parent's lock and socket
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from cloche.store.identifiers import validate_identifier
from cloche.store.metadata import Metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.image.processors import Processors
    from cloche.image.verifiers import Verifiers
    from cloche.store.content import ContentStore
    from cloche.store.leases import Owner
    from cloche.store.snapshots.local import LocalSnapshotter


CONFIG_PATH = "/etc/cloche/config.toml"
CONFIG_VARIABLE = "CLOCHE_CONFIG"


class Context:
    """The stores of one root, seen from one namespace."""

    def __init__(self, root: str, state: str, namespace: str, snapshotter: str) -> None:
        """Makes nothing on disk. Raises InvalidArgument for a wrong namespace."""
        self.root = root
        self.state = state
        self.namespace = validate_identifier(namespace, "namespace")
        self.metadata = Metadata(f"{root}/meta.db")
        self.snapshotter_name = snapshotter
        self._snapshotters: dict[str, LocalSnapshotter] = {}
        self.isolated = False
        """Whether a namespace beside this one sees only blobs that it has (store.holdings).

        Nothing without a daemon is: who opens the stores can read every file in them.
        """
        self.verifiers: Verifiers | None = None
        """Who may refuse an image before it is pulled."""
        self._processors: Processors | None = None
        self._content: ContentStore | None = None
        self._owner: Owner | None = None
        self._lock = allocate_lock()
        self._pid = os.getpid()

    def beside(self, namespace: str) -> Context:
        """The same root seen from another namespace; shares the database."""
        other = Context(self.root, self.state, namespace, self.snapshotter_name)
        other.metadata = self.metadata
        other.verifiers = self.verifiers
        other._processors = self._processors
        other._content = self._content
        if self.isolated:
            from cloche.store.holdings import Holdings

            other.isolated = True
            other._content = self.content.seen_by(Holdings(self.metadata, namespace))
        return other

    @property
    def runtime_root(self) -> str:
        """Where the runtime keeps the states of this namespace's containers."""
        return f"{self.state}/{self.namespace}"

    def directory(self, container_id: str) -> str:
        """The durable directory of a container."""
        return f"{self.root}/containers/{self.namespace}/{container_id}"

    def run_directory(self, container_id: str) -> str:
        """The directory of a running container's parent."""
        return f"{self.state}/.run/{self.namespace}/{container_id}"

    def bundle(self, container_id: str) -> str:
        """Where a container's shim works; where containerd keeps them too."""
        return f"{self.state}/io.containerd.runtime.v2.task/{self.namespace}/{container_id}"

    def volume(self, name: str) -> str:
        """The directory of a volume's files."""
        return f"{self.root}/volumes/{name}/_data"

    @property
    def content(self) -> ContentStore:
        """The blobs of this root. Raises FailedPrecondition where another daemon keeps them for cloched."""
        if self._content is None:
            from cloche.store.content import ContentStore

            directory = f"{self.root}/content"
            if os.path.exists(f"{directory}/elsewhere.json"):
                from cloche.store import elsewhere

                elsewhere.refuse(directory)
            self._content = ContentStore(directory)
        return self._content

    @content.setter
    def content(self, content: ContentStore) -> None:
        self._content = content

    @property
    def processors(self) -> Processors:
        """Programs for layers of other media types: what config.toml says, unless they were set."""
        if self._processors is None:
            from cloche.image.processors import configured

            self._processors = configured(os.environ.get(CONFIG_VARIABLE) or CONFIG_PATH)
        return self._processors

    @processors.setter
    def processors(self, processors: Processors) -> None:
        self._processors = processors

    @property
    def leases(self) -> str:
        """Where the liveness files of leases' owners are."""
        return f"{self.root}/leases"

    def snapshotter(self, name: str = "") -> LocalSnapshotter:
        """A snapshotter of this root and namespace; the default one without a name."""
        name = name or self.snapshotter_name
        found = self._snapshotters.get(name)
        if found is None:
            from cloche.store.snapshots.open import snapshotter

            found = self._snapshotters[name] = snapshotter(name, self.root, self.namespace)
        return found

    def owner(self) -> Owner:
        """This process as the owner of what dies with it; taken at the first call."""
        with self._lock:
            if self._owner is None:
                from cloche.store.leases import Owner

                self._owner = Owner(self.leases)
            return self._owner

    def discard(self, path: str) -> None:
        """Remove a directory tree of this root or its state; one that is gone does not matter.

        It is moved aside first, so that a crash in between leaves nothing half removed.
        """
        from cloche.store.snapshots import trash

        # A rename stays on one file system, and STATE is commonly on another one than ROOT.
        below_state = path.startswith(f"{self.state}/")
        bin_directory = f"{self.state}/.run/.trash" if below_state else f"{self.root}/trash"
        trash.discard(path, bin_directory)
        trash.empty(bin_directory)

    def close(self) -> None:
        """Close the database and end the ownership (which a fork of the owner is not)."""
        with self._lock:
            if self._owner is not None and self._pid == os.getpid():
                self._owner.close()
            self._owner = None
        if self._content is not None:
            self._content.close()
        self.metadata.close()
