"""Every command of crictl: other names, where it lives, and the line that `--help` says about it."""

from __future__ import annotations

COMMANDS: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "attach": ((), "streams", "ATTACH", "Join this terminal to a running container"),
    "checkpoint": ((), "lifecycle", "CHECKPOINT", "Write running containers to an archive"),
    "completion": ((), "runtime", "COMPLETION", "Print a script that completes command lines"),
    "config": ((), "runtime", "CONFIG", "Show and set options of this client"),
    "create": ((), "lifecycle", "CREATE", "Make a container in a pod"),
    "events": (("event",), "runtime", "EVENTS", "Show what happens to containers as it happens"),
    "exec": ((), "streams", "EXEC", "Run a command in a running container"),
    "images": (("image", "img"), "image_lists", "IMAGES", "List images"),
    "imagefsinfo": ((), "inspection", "IMAGEFSINFO", "Show what images and containers take on disk"),
    "info": ((), "inspection", "INFO", "Show the state of the daemon"),
    "inspect": ((), "inspection", "INSPECT", "Show all that is known of containers"),
    "inspecti": ((), "inspection", "INSPECTI", "Show all that is known of images"),
    "inspectp": ((), "inspection", "INSPECTP", "Show all that is known of pods"),
    "logs": ((), "logs", "LOGS", "Show what a container has written"),
    "metricdescs": ((), "stats", "METRICDESCS", "List which metrics of pods there are"),
    "metricsp": ((), "stats", "METRICSP", "List the metrics of pods"),
    "pods": ((), "lists", "PODS", "List pods"),
    "port-forward": ((), "streams", "PORT_FORWARD", "Have ports of this machine lead into a pod"),
    "ps": ((), "lists", "PS", "List containers"),
    "pull": ((), "pulling", "PULL", "Fetch an image from a registry"),
    "rm": ((), "lifecycle", "RM", "Remove containers"),
    "rmi": ((), "pulling", "RMI", "Remove images"),
    "rmp": ((), "lifecycle", "RMP", "Remove pods"),
    "run": ((), "lifecycle", "RUN", "Make a pod and run a container in it"),
    "runp": ((), "lifecycle", "RUNP", "Make a pod"),
    "runtime-config": ((), "runtime", "RUNTIME_CONFIG", "Show what a kubelet has to agree with"),
    "start": ((), "lifecycle", "START", "Start containers"),
    "stats": ((), "stats", "STATS", "Show what containers use"),
    "statsp": ((), "stats", "STATSP", "Show what pods use"),
    "stop": ((), "lifecycle", "STOP", "Stop containers"),
    "stopp": ((), "lifecycle", "STOPP", "Stop pods"),
    "update": ((), "lifecycle", "UPDATE", "Change the limits of containers"),
    "update-runtime-config": ((), "runtime", "UPDATE_RUNTIME_CONFIG", "Tell the daemon pods' addresses"),
    "version": ((), "runtime", "VERSION", "Show the daemon's version"),
}


def resolve(word: str) -> str:
    """The command of a name or alias; "" where there is none."""
    if word in COMMANDS:
        return word
    return next((name for name, row in COMMANDS.items() if word in row[0]), "")
