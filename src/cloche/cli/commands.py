"""Every command: where it lives, and the line that `--help` says about it.

A row is (module below cloche.cli, name of its Command there, summary). Only the module of the
command that was asked for is imported.
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "RUN", "Make a container from an image and run it"),
    "exec": ("execute", "EXEC", "Run another command in a running container"),
    "ps": ("listing", "PS", "List containers"),
    "pull": ("registry", "PULL", "Fetch an image from a registry"),
    "push": ("registry", "PUSH", "Send an image to a registry"),
    "images": ("images", "IMAGES", "List images"),
    "logs": ("logs", "LOGS", "Show what a container has written"),
    "inspect": ("inspection", "INSPECT", "Show all that is known about containers or images, as JSON"),
    "info": ("system", "INFO", "Show the state of this installation and its machine"),
    "version": ("system", "VERSION", "Show versions"),
    "attach": ("attach", "ATTACH", "Join this terminal to a running container"),
    "ctr": ("ctr.main", "CTR", "Manage the daemon in the words of containerd's ctr"),
    "crictl": ("crictl.main", "CRICTL", "Manage pods and containers in the words of Kubernetes' crictl"),
    "cp": ("copy", "CP", "Copy files between a container and the host"),
    "create": ("run", "CREATE", "Make a container from an image without starting it"),
    "df": ("system", "DF", "Show what takes room on the disk, and with --explain whose every byte is"),
    "diff": ("copy", "DIFF", "List what a container has changed in its file system"),
    "explain": ("plans", "EXPLAIN", "Show how a bundle becomes a container, and run nothing"),
    "export": ("copy", "EXPORT", "Write a container's file system as a tar archive"),
    "fsck": ("check", "FSCK", "Look for damage in all that is kept, and repair it"),
    "kill": ("lifecycle", "KILL", "Send a signal to running containers"),
    "pause": ("lifecycle", "PAUSE", "Freeze every process of containers"),
    "port": ("networks", "PORT", "Show where a container's ports are published"),
    "rename": ("lifecycle", "RENAME", "Give a container another name"),
    "restart": ("lifecycle", "RESTART", "Stop containers and start them again"),
    "rm": ("lifecycle", "RM", "Remove containers"),
    "start": ("attach", "START", "Start containers that are not running"),
    "stats": ("processes", "STATS", "Show what running containers use"),
    "stop": ("lifecycle", "STOP", "Ask containers to end, and kill them if they do not"),
    "top": ("processes", "TOP", "List the processes of a container"),
    "trace": ("plans", "TRACE", "Run a bundle and show how long each operation took"),
    "unpause": ("lifecycle", "UNPAUSE", "Let frozen containers go on"),
    "wait": ("lifecycle", "WAIT", "Wait until containers end, and print their exit codes"),
    "why-stuck": ("why_stuck", "WHY_STUCK", "Show what a container's processes wait for and what frees them"),
    "history": ("images", "HISTORY", "Show how an image was made"),
    "import": ("transfer", "IMPORT", "Make an image of a root file system in a tar archive"),
    "load": ("transfer", "LOAD", "Read images from an OCI or docker archive"),
    "rmi": ("images", "RMI", "Remove images"),
    "save": ("transfer", "SAVE", "Write images to an archive"),
    "tag": ("images", "TAG", "Give an image another name"),
    "container prune": ("lifecycle", "PRUNE", "Remove all containers that are not running"),
    "container inspect": ("inspection", "CONTAINER_INSPECT", "Show all that is known about containers"),
    "image prune": ("images", "PRUNE", "Remove images that nothing uses"),
    "image inspect": ("inspection", "IMAGE_INSPECT", "Show all that is known about images"),
    "image from-host": ("transfer", "FROM_HOST", "Make an image of this machine's own programs"),
    "network connect": ("networks", "CONNECT", "Bring a container into a network"),
    "network create": ("networks", "CREATE", "Make a network"),
    "network disconnect": ("networks", "DISCONNECT", "Take a container out of a network"),
    "network explain": ("networks", "EXPLAIN", "Show the rules of a network and its published ports"),
    "network inspect": ("networks", "INSPECT", "Show all that is known about networks"),
    "network ls": ("networks", "LIST", "List networks"),
    "network prune": ("networks", "PRUNE", "Remove networks that no container is in"),
    "network rm": ("networks", "REMOVE", "Remove networks"),
    "registry explain": ("registry_explain", "EXPLAIN", "Ask each host of an image's registry, and tell why"),
    "system df": ("system", "DF", "Show what takes room on the disk"),
    "system prune": ("system", "PRUNE", "Remove stopped containers and unused images"),
}

# The words after `container`, `image`, `network`, `registry` and `system`, and the command each stands for.
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "container": (
        "Manage containers",
        {
            "attach": "attach",
            "cp": "cp",
            "create": "create",
            "diff": "diff",
            "exec": "exec",
            "export": "export",
            "inspect": "container inspect",
            "kill": "kill",
            "logs": "logs",
            "ls": "ps",
            "pause": "pause",
            "port": "port",
            "prune": "container prune",
            "rename": "rename",
            "restart": "restart",
            "rm": "rm",
            "run": "run",
            "start": "start",
            "stats": "stats",
            "stop": "stop",
            "top": "top",
            "unpause": "unpause",
            "wait": "wait",
        },
    ),
    "image": (
        "Manage images",
        {
            "from-host": "image from-host",
            "history": "history",
            "import": "import",
            "inspect": "image inspect",
            "load": "load",
            "ls": "images",
            "prune": "image prune",
            "pull": "pull",
            "push": "push",
            "rm": "rmi",
            "save": "save",
            "tag": "tag",
        },
    ),
    "network": (
        "Manage networks",
        {
            "connect": "network connect",
            "create": "network create",
            "disconnect": "network disconnect",
            "explain": "network explain",
            "inspect": "network inspect",
            "ls": "network ls",
            "prune": "network prune",
            "rm": "network rm",
        },
    ),
    "registry": ("Look at registries", {"explain": "registry explain"}),
    "system": (
        "Look at and clean this installation",
        {"df": "system df", "fsck": "fsck", "info": "info", "prune": "system prune"},
    ),
}

# Other words for the same, kept out of the help's lists.
ALIASES: dict[str, dict[str, str]] = {
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "image": {"list": "ls", "remove": "rm"},
    "network": {"list": "ls", "remove": "rm"},
}

COMMON = ("run", "exec", "ps", "pull", "images", "logs", "inspect", "info", "version")


def resolve(words: list[str]) -> tuple[str, str, int]:
    """(key in COMMANDS or "", the words as the user knows the command, how many words it took)."""
    first = words[0]
    if first not in GROUPS:
        return (first if first in COMMANDS else "", first, 1)
    if len(words) == 1:
        return ("", first, 1)
    second = ALIASES.get(first, {}).get(words[1], words[1])
    return (GROUPS[first][1].get(second, ""), f"{first} {words[1]}", 2)
