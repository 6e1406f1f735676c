"""The tables of meta.db and of run.db, and how an older database becomes one of today.

    namespaces ──┐ (name)
                 ├─ images ········ target digest ──▶ blobs on disk (store.content)
                 │     └ resolutions  (target digest, platform) ─▶ manifest, config, chain id
                 ├─ containers ──── snapshotter, snapshot_key ─┐
                 │     └ lease: the run lease it dies with     │
                 ├─ snapshots ◀────────────────────────────────┘
                 │     └ parent ─▶ snapshots.id (a committed one)
                 ├─ leases
                 │     └ lease_resources (kind, resource): what must not be collected
                 └─ blob_labels (digest): what clients noted on content

    images          namespace, name | digest, media_type, size, annotations, labels, times
    resolutions     digest, platform | manifest_digest, config_digest, chain_id
    containers      namespace, id | name (unique in its namespace unless empty), image, …
    snapshots       id | snapshotter, namespace, key (unique) | parent, kind, labels, usage, times
    leases          namespace, id | labels, created_at, expires_at, owner (its liveness file)
    lease_resources namespace, lease, kind, resource
    blob_labels     namespace, digest | labels, times
    sandboxes       namespace, id | labels, record (what else the API keeps of it), times

run.db, in the state directory, has what means nothing after a reboot:

    events          id | at, namespace, topic, type, value (a message of Protocol Buffers)

Times are nanoseconds since 1970. Labels and annotations are JSON objects, or the empty text for
none. A snapshot's id is the name of its directory and is never used again. What points to
something else is not a foreign key: as in containerd, a container outlives its image.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE namespaces (
            name TEXT NOT NULL PRIMARY KEY, labels TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE images (
            namespace TEXT NOT NULL, name TEXT NOT NULL,
            digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
            annotations TEXT NOT NULL, labels TEXT NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, name)
        ) WITHOUT ROWID""",
        """CREATE TABLE resolutions (
            digest TEXT NOT NULL, platform TEXT NOT NULL,
            manifest_digest TEXT NOT NULL, config_digest TEXT NOT NULL, chain_id TEXT NOT NULL,
            PRIMARY KEY (digest, platform)
        ) WITHOUT ROWID""",
        """CREATE TABLE containers (
            namespace TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
            image TEXT NOT NULL, snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL,
            labels TEXT NOT NULL, spec BLOB NOT NULL, options BLOB NOT NULL,
            runtime TEXT NOT NULL, sandbox TEXT NOT NULL, extensions BLOB NOT NULL, lease TEXT NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
        )""",
        "CREATE UNIQUE INDEX container_ids ON containers (namespace, id)",
        "CREATE UNIQUE INDEX container_names ON containers (namespace, name) WHERE name != ''",
        """CREATE TABLE snapshots (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            snapshotter TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL,
            parent INTEGER, kind TEXT NOT NULL, labels TEXT NOT NULL,
            size INTEGER, inodes INTEGER,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
        )""",
        "CREATE UNIQUE INDEX snapshot_keys ON snapshots (snapshotter, namespace, key)",
        "CREATE INDEX snapshot_parents ON snapshots (parent) WHERE parent IS NOT NULL",
        """CREATE TABLE leases (
            namespace TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL,
            created_at INTEGER NOT NULL, expires_at INTEGER, owner TEXT NOT NULL,
            PRIMARY KEY (namespace, id)
        ) WITHOUT ROWID""",
        """CREATE TABLE lease_resources (
            namespace TEXT NOT NULL, lease TEXT NOT NULL, kind TEXT NOT NULL, resource TEXT NOT NULL,
            PRIMARY KEY (namespace, lease, kind, resource)
        ) WITHOUT ROWID""",
        """CREATE TABLE blob_labels (
            namespace TEXT NOT NULL, digest TEXT NOT NULL, labels TEXT NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, digest)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE sandboxes (
            namespace TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL, record BLOB NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, id)
        ) WITHOUT ROWID""",
    ),
)
"""Statements by version: the first tuple makes version 1 of an empty file, the next 2 of 1, …

A released tuple is never changed; the database's user_version says how many it has seen.
"""

RUN_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,
            namespace TEXT NOT NULL, topic TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL
        )""",
        "CREATE INDEX event_times ON events (at)",
    ),
)
"""The same for run.db."""
