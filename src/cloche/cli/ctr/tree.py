"""ctr's tree of commands: where each lives, and the line that `--help` says about it.

A group is (other words for it, what it is about, flags of all its commands, its commands). A command is
(other words for it, module below cloche.cli.ctr, name of its Command there, summary). Only the module
of the command that was asked for is imported. A command of the top level is a group with one command
that has no name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Row

    Entry = tuple[tuple[str, ...], str, str, str]
    Branch = tuple[tuple[str, ...], str, tuple[Row, ...], dict[str, Entry]]

SNAPSHOTTER: Row = ("snapshotter", "", "string", "Which snapshotter to use ($CONTAINERD_SNAPSHOTTER)")
_REMOVE = ("del", "remove", "rm")
_LIST = ("ls",)

_SHIM: tuple[Row, ...] = (
    ("id", "", "string", "Container of the shim"),
    ("shim-address", "", "string", "Socket of the shim, instead of finding it by its container"),
)


def _top(module: str, name: str, summary: str) -> Branch:
    return ((), summary, (), {"": ((), module, name, summary)})


TREE: dict[str, Branch] = {
    "plugins": (
        ("plugin",),
        "What the daemon is made of",
        (),
        {
            "list": (_LIST, "plugins", "LIST", "List plugins"),
            "inspect-runtime": ((), "plugins", "INSPECT_RUNTIME", "Show what a runtime says of itself"),
        },
    ),
    "version": _top("server", "VERSION", "Show the versions of client and daemon"),
    "containers": (
        ("c", "container"),
        "Manage containers",
        (),
        {
            "create": ((), "run", "CREATE", "Make a container of an image; nothing runs yet"),
            "delete": (_REMOVE, "containers", "DELETE", "Remove containers"),
            "info": ((), "containers", "INFO", "Show a container as JSON"),
            "list": (_LIST, "containers", "LIST", "List containers"),
            "label": ((), "containers", "LABEL", "Set labels of a container"),
            "checkpoint": ((), "checkpoint", "CHECKPOINT", "Write a container down as an image"),
            "restore": ((), "checkpoint", "RESTORE", "Make a container of such an image, and start it"),
        },
    ),
    "content": (
        (),
        "Manage content",
        (),
        {
            "active": ((), "content", "ACTIVE", "List what is arriving"),
            "delete": (_REMOVE, "content", "DELETE", "Delete blobs"),
            "edit": ((), "content_edit", "EDIT", "Make a new blob of an old one in an editor"),
            "fetch": ((), "pull", "FETCH", "Fetch an image without unpacking it"),
            "fetch-object": ((), "remote", "FETCH_OBJECT", "Print what a reference names in its registry"),
            "fetch-blob": ((), "remote", "FETCH_BLOB", "Print blobs of a registry"),
            "get": ((), "content", "GET", "Print a blob"),
            "ingest": ((), "content", "INGEST", "Store the standard input"),
            "label": ((), "content", "LABEL", "Set and clear labels of a blob"),
            "list": (_LIST, "content", "LIST", "List blobs"),
            "prune": ((), "content_prune", "PRUNE", "Let layers go: `prune references`"),
            "push-object": ((), "remote", "PUSH_OBJECT", "Send a blob to a registry"),
        },
    ),
    "events": (("event",), *_top("server", "EVENTS", "Show events as they happen")[1:]),
    "images": (
        ("image", "i"),
        "Manage images",
        (),
        {
            "build-erofs-cache": ((), "images", "EROFS_CACHE", "Refused: there is no erofs snapshotter here"),
            "check": ((), "image_check", "CHECK", "Show whether images are complete and unpacked"),
            "convert": ((), "convert", "CONVERT", "Make an image in another form"),
            "delete": (_REMOVE, "images", "DELETE", "Remove images"),
            "export": ((), "archives", "EXPORT", "Write images to an archive"),
            "import": ((), "archives", "IMPORT", "Read images from an archive"),
            "inspect": (("i",), "image_tree", "INSPECT", "Show what an image consists of"),
            "label": ((), "images", "LABEL", "Set and clear labels of an image"),
            "list": (_LIST, "images", "LIST", "List images"),
            "mount": ((), "image_mount", "MOUNT", "Mount an image somewhere"),
            "prune": ((), "images", "PRUNE", "Remove images that no container uses"),
            "pull": ((), "pull", "PULL", "Fetch an image from a registry"),
            "push": ((), "push", "PUSH", "Send an image to a registry"),
            "tag": ((), "images", "TAG", "Give an image other names"),
            "unmount": ((), "image_mount", "UNMOUNT", "Unmount an image"),
            "usage": ((), "image_check", "USAGE", "Show what an image's snapshots take on disk"),
        },
    ),
    "leases": (
        (),
        "Manage leases",
        (),
        {
            "create": ((), "leases", "CREATE", "Make a lease"),
            "delete": (_REMOVE, "leases", "DELETE", "End leases"),
            "list": (_LIST, "leases", "LIST", "List leases"),
        },
    ),
    "namespaces": (
        ("namespace", "ns"),
        "Manage namespaces",
        (),
        {
            "create": (("c",), "namespaces", "CREATE", "Make a namespace"),
            "label": ((), "namespaces", "LABEL", "Set and clear labels of a namespace"),
            "list": (_LIST, "namespaces", "LIST", "List namespaces"),
            "remove": (("rm",), "namespaces", "REMOVE", "Remove empty namespaces"),
        },
    ),
    "pprof": (
        (),
        "Refused: the daemon is no Go program",
        (("debug-socket", "d", "string", "Debug socket of a containerd"),),
        dict.fromkeys(
            ("block", "goroutines", "heap", "profile", "threadcreate", "trace"),
            ((), "pprof", "PPROF", "Refused: the daemon is no Go program"),
        ),
    ),
    "run": _top("run", "RUN", "Make a container of an image and run it"),
    "snapshots": (
        ("snapshot",),
        "Manage snapshots",
        (SNAPSHOTTER,),
        {
            "commit": ((), "snapshots", "COMMIT", "Make a committed snapshot of an active one"),
            "delete": (_REMOVE, "snapshots", "DELETE", "Remove snapshots"),
            "diff": ((), "snapshot_diff", "DIFF", "Print a layer of what a snapshot changed"),
            "info": ((), "snapshots", "INFO", "Show a snapshot as JSON"),
            "label": ((), "snapshots", "LABEL", "Set and clear labels of a snapshot"),
            "list": (_LIST, "snapshots", "LIST", "List snapshots"),
            "mounts": (("m", "mount"), "snapshot_mounts", "MOUNTS", "Show how to mount a snapshot"),
            "prepare": ((), "snapshot_mounts", "PREPARE", "Begin a snapshot to write to"),
            "tree": ((), "snapshots", "SNAPSHOT_TREE", "Show snapshots below their parents"),
            "unpack": ((), "unpack", "UNPACK", "Unpack an image by its digest"),
            "usage": ((), "snapshots", "USAGE", "Show what snapshots take on disk"),
            "view": ((), "snapshot_mounts", "VIEW", "Begin a snapshot to read"),
        },
    ),
    "tasks": (
        ("t", "task"),
        "Manage tasks",
        (),
        {
            "attach": ((), "task_start", "ATTACH", "Join these streams to a running task"),
            "checkpoint": ((), "checkpoint", "TASK_CHECKPOINT", "Write a task's processes down"),
            "delete": (_REMOVE, "tasks", "DELETE", "Remove tasks"),
            "exec": ((), "task_exec", "EXEC", "Run another process in a container"),
            "kill": ((), "tasks", "KILL", "Send a signal to a task"),
            "list": (_LIST, "tasks", "LIST", "List tasks"),
            "metrics": (("metric",), "metrics", "METRICS", "Show what a task uses"),
            "pause": ((), "tasks", "PAUSE", "Freeze a task"),
            "ps": ((), "tasks", "PS", "List a task's processes"),
            "resume": ((), "tasks", "RESUME", "Let a frozen task go on"),
            "start": ((), "task_start", "START", "Start a container that was created"),
        },
    ),
    "install": _top("install", "INSTALL", "Install programs out of an image"),
    "oci": (
        (),
        "Documents of the OCI",
        (),
        {"spec": ((), "oci", "SPEC", "Print the default config.json")},
    ),
    "sandboxes": (
        ("sandbox", "sb", "s"),
        "Manage sandboxes",
        (),
        {
            "run": (("create", "c", "r"), "sandboxes", "RUN", "Run a sandbox"),
            "info": (("i",), "sandboxes", "INFO", "Show a sandbox as JSON"),
            "list": (_LIST, "sandboxes", "LIST", "List sandboxes"),
            "remove": (("rm",), "sandboxes", "REMOVE", "Stop and remove sandboxes"),
        },
    ),
    "info": _top("server", "INFO", "Show the daemon as JSON"),
    "deprecations": (
        (),
        "What will go away",
        (),
        {"list": ((), "server", "DEPRECATIONS", "List what is used here and will go away")},
    ),
    "shim": (
        (),
        "Speak with a shim itself",
        _SHIM,
        {
            "delete": ((), "shim", "DELETE", "Have it forget its container"),
            "exec": ((), "shim", "EXEC", "Run another process in its container"),
            "pprof": ((), "pprof", "PPROF", "Refused: the shim is no Go program"),
            "shutdown": ((), "shim", "SHUTDOWN", "End it, where it has no container"),
            "start": ((), "shim", "START", "Start its container"),
            "state": ((), "shim", "STATE", "Show its container's state as JSON"),
        },
    ),
}


def group_of(word: str) -> str:
    """The group that a word means; empty for none."""
    if word in TREE:
        return word
    return next((name for name, branch in TREE.items() if word in branch[0]), "")


def command_of(group: str, word: str) -> str | None:
    """The command of a group that a word means."""
    members = TREE[group][3]
    if word in members:
        return word
    return next((name for name, entry in members.items() if word in entry[0]), None)
