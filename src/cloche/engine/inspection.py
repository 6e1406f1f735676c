"""What `inspect` and `info` say: containers, images and the engine in the shape of Docker's API."""

from __future__ import annotations

import os

from cloche.engine import namespaces, ports, program, security, specification
from cloche.engine.volumes import wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.engine.container import Container
    from cloche.engine.containers import Containers
    from cloche.engine.context import Context
    from cloche.engine.images import Image, Images
    from cloche.engine.options import Options
    from cloche.engine.status import Status

_NEVER = "0001-01-01T00:00:00Z"


def container(of: Container) -> dict[str, Any]:
    """See `Container.inspect`."""
    command = list(of.command)
    path = of.directory
    return {
        "Id": of.id,
        "Created": of.created_at,
        "Path": command[0],
        "Args": command[1:],
        "State": _state(of.status()),
        "Image": of.kept.image_id,
        "ResolvConfPath": f"{path}/resolv.conf",
        "HostnamePath": f"{path}/hostname",
        "HostsPath": f"{path}/hosts",
        "LogPath": of.log_path,
        "Name": "/" + of.name,
        "RestartCount": 0,
        "Driver": of.row.snapshotter,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(of.options) | {"PortBindings": ports.wanted(of)},
        "GraphDriver": {"Name": of.row.snapshotter, "Data": {}},
        "Mounts": _mounts(of),
        "Config": _config(of),
        "NetworkSettings": ports.settings(of),
    }


def _state(status: Status) -> dict[str, Any]:
    return {
        "Status": status.state,
        "Running": status.running,
        "Paused": status.state == "paused",
        "Restarting": False,
        "OOMKilled": status.oom_killed,
        "Dead": False,
        "Pid": status.pid,
        "ExitCode": status.exit_code,
        "Error": status.error,
        "StartedAt": status.started_at if not status.error else _NEVER,
        "FinishedAt": status.finished_at or _NEVER,
    }


def _host_config(options: Options) -> dict[str, Any]:
    return {
        "Binds": [
            f"{each.source}:{each.target}{':ro' if each.read_only else ''}"
            for each in options.mounts
            if each.kind != "tmpfs" and each.create_source
        ]
        or None,
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": namespaces.mode(options, "network"),
        "PublishAllPorts": options.publish_all,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": options.auto_remove,
        "CapAdd": list(options.cap_add) or None,
        "CapDrop": list(options.cap_drop) or None,
        "CgroupnsMode": options.cgroupns,
        "CgroupParent": options.cgroup_parent,
        "Dns": list(options.dns),
        "DnsOptions": list(options.dns_options),
        "DnsSearch": list(options.dns_search),
        "ExtraHosts": list(options.hosts) or None,
        "GroupAdd": list(options.groups) or None,
        "IpcMode": options.ipc,
        "OomScoreAdj": options.oom_score_adj or 0,
        "PidMode": "" if options.pid == "private" else options.pid,
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": list(options.security_opt) or None,
        "UTSMode": "" if options.uts == "private" else options.uts,
        "UsernsMode": options.userns,
        "ShmSize": options.shm_size,
        "Runtime": "cloche",
        "Init": options.init,
        "Sysctls": dict(options.sysctls),
        "Tmpfs": {
            each.target: ",".join(each.tmpfs_options) for each in options.mounts if each.kind == "tmpfs"
        },
        **_limits(options),
    }


def _limits(options: Options) -> dict[str, Any]:
    memory = options.memory or 0
    return {
        "CpuShares": options.cpu_shares or 0,
        "Memory": memory,
        "NanoCpus": int((options.cpus or 0) * 1e9),
        "CpuPeriod": options.cpu_period_us or 0,
        "CpuQuota": options.cpu_quota_us or 0,
        "CpusetCpus": options.cpuset_cpus,
        "CpusetMems": options.cpuset_mems,
        "Devices": [
            {"PathOnHost": each.source, "PathInContainer": each.target, "CgroupPermissions": each.access}
            for each in options.devices
        ],
        "MemoryReservation": options.memory_reservation or 0,
        "MemorySwap": options.memory_swap or 2 * memory,
        "PidsLimit": options.pids_limit,
        "Ulimits": [{"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in options.ulimits],
    }


def _mounts(of: Container) -> list[dict[str, Any]]:
    found = []
    for option in wanted(of.kept.image_config, of.options.mounts):
        mount: dict[str, Any] = {"Type": option.kind, "Source": option.source, "Destination": option.target}
        if option.kind == "volume":
            name = of.kept.volumes.get(option.target, "")
            mount |= {"Name": name, "Source": of.context.volume(name), "Driver": "local"}
        found.append(mount | {"Mode": "", "RW": not option.read_only, "Propagation": option.propagation})
    return found


def _config(of: Container) -> dict[str, Any]:
    options, image = of.options, of.kept.image_config
    facts = specification.Facts(of.id)
    own = (name for name in ("HOME", "HOSTNAME", "TERM"))
    added = tuple(f"{name}=" for name in own)
    environment = [
        entry
        for entry in specification.environment(image, options, facts)
        if not entry.startswith(added) or entry in image.env or entry in options.env
    ]
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    arguments = options.args or (image.cmd if options.entrypoint is None else None)
    return {
        "Hostname": specification.hostname(options, of.id),
        "Domainname": options.domainname,
        "User": options.user or image.user,
        "AttachStdin": options.stdin_once,
        "AttachStdout": options.stdin_once,
        "AttachStderr": options.stdin_once,
        "Tty": options.tty,
        "OpenStdin": options.stdin_open,
        "StdinOnce": options.stdin_once,
        "Env": environment,
        "Cmd": list(arguments) if arguments else None,
        "Image": of.image,
        "Volumes": {path: {} for path in image.volumes} or None,
        "WorkingDir": options.workdir or image.working_dir,
        "Entrypoint": list(entrypoint) if entrypoint else None,
        "Labels": dict(of.labels),
        "StopSignal": program.stop_signal(image, options),
        "StopTimeout": options.stop_timeout_s,
    }


def image(of: Image) -> dict[str, Any]:
    """See `Image.inspect`."""
    document = of.config.document
    tags, digests = of.repo_names
    return {
        "Id": of.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": "",
        "Created": of.created,
        "Author": of.config.author,
        "Config": document.get("config") or {},
        "Architecture": of.config.architecture,
        "Variant": document.get("variant", ""),
        "Os": of.config.os,
        "Size": of.size_bytes,
        "RootFS": {"Type": "layers", "Layers": list(of.config.diff_ids)},
        "Metadata": {"LastTagTime": _NEVER},
        "Descriptor": {
            "mediaType": of.row.target.media_type,
            "digest": of.digest,
            "size": of.row.target.size,
        },
    }


def system(context: Context, images: Images, containers: Containers) -> dict[str, Any]:
    """See `Engine.information`."""
    from cloche.kernel.cgroups.layout import layout

    states = [each.status().state for each in containers.list(all=True)]
    host = os.uname()
    legacy = bool(layout().legacy)
    return {
        "ID": "",
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len({row.target.digest for row in images.rows()}),
        "Driver": context.snapshotter_name,
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1" if legacy else "2",
        "KernelVersion": host.release,
        "OperatingSystem": _system_name(),
        "OSType": "linux",
        "Architecture": host.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Name": host.nodename,
        "DockerRootDir": context.root,
        "StateDir": context.state,
        "Namespace": context.namespace,
        "DefaultRuntime": "cloche",
        "SecurityOptions": [f"name=seccomp,profile={security.DEFAULT}", "name=cgroupns"],
        "Warnings": _warnings() or None,
    }


def _warnings() -> list[str]:
    """What on this machine gets in the way of containers."""
    from cloche.network.firewall import refusals

    try:
        chains = refusals()
    except OSError:
        return []  # no nf_tables here
    return [
        f"chain {chain} drops what is forwarded unless a rule of its own accepts it: containers in networks "
        "reach nobody outside (docs/network.md)"
        for chain in chains
    ]


def _system_name() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip("\"'")
    except OSError:
        pass
    return "Linux"
