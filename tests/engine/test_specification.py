from __future__ import annotations

from typing import Any

import pytest

from cloche.engine import capabilities, namespaces, specification
from cloche.engine.mounts import Place
from cloche.engine.options import MountOption, Options, Ulimit
from cloche.engine.specification import Facts
from cloche.errors import InvalidArgument
from cloche.kernel.passwd import Identity
from cloche.spec.image_config import ImageConfig
from cloche.spec.validate import validate

_ID = "0123456789abcdef" * 4


def _image(**config: Any) -> ImageConfig:
    return ImageConfig({"architecture": "amd64", "os": "linux", "config": config})


def _build(options: Options, image: ImageConfig | None = None, **facts: Any) -> dict[str, Any]:
    config: Any = specification.build(image or _image(Cmd=["sh"]), options, Facts(_ID, **facts))
    found: dict[str, Any] = config
    return found


def _mount(config: dict[str, Any], target: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [mount for mount in config["mounts"] if mount["destination"] == target]
    assert len(found) == 1
    return found[0]


def test_the_default_document_is_valid_and_isolated() -> None:
    config = _build(Options())
    assert validate(config) == []
    kinds = {each["type"] for each in config["linux"]["namespaces"]}
    assert kinds == {"mount", "pid", "network", "ipc", "uts", "cgroup"}
    assert config["process"]["capabilities"]["bounding"] == list(capabilities.DEFAULT)
    assert "inheritable" not in config["process"]["capabilities"]
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "ro" in _mount(config, "/sys")["options"]
    assert "size=67108864" in _mount(config, "/dev/shm")["options"]
    assert config["hostname"] == _ID[:12]


@pytest.mark.parametrize(
    ("image", "options", "command"),
    [
        ({"Cmd": ["a", "b"]}, Options(), ["a", "b"]),
        ({"Cmd": ["a"], "Entrypoint": ["e"]}, Options(), ["e", "a"]),
        ({"Cmd": ["a"], "Entrypoint": ["e"]}, Options(args=("x",)), ["e", "x"]),
        ({"Cmd": ["a"], "Entrypoint": ["e"]}, Options(entrypoint=("f",)), ["f"]),
        ({"Cmd": ["a"], "Entrypoint": ["e"]}, Options(entrypoint=(), args=("x", "y")), ["x", "y"]),
    ],
)
def test_entrypoint_and_command_are_merged_by_dockers_rules(
    image: dict[str, Any], options: Options, command: list[str]
) -> None:
    assert _build(options, _image(**image))["process"]["args"] == command


def test_a_container_without_a_command_is_refused() -> None:
    for options in (Options(), Options(entrypoint=())):
        with pytest.raises(InvalidArgument, match="no command"):
            _build(options, _image(Cmd=["a"]) if options.entrypoint is not None else _image())


def test_the_users_variables_win_over_the_images_and_a_bare_name_removes_one() -> None:
    image = _image(Cmd=["sh"], Env=["A=image", "B=image", "PATH=/bin"])
    who = Identity(1000, 1000, (), "/home/me", "me")
    config = _build(Options(env=("A=mine", "B"), tty=True), image, identity=who)
    assert config["process"]["env"] == [
        "PATH=/bin",
        f"HOSTNAME={_ID[:12]}",
        "TERM=xterm",
        "A=mine",
        "HOME=/home/me",
    ]


def test_another_user_than_root_starts_with_no_effective_capability() -> None:
    config = _build(Options(), identity=Identity(1000, 100, (27,), "/", "me"))
    assert config["process"]["capabilities"]["effective"] == []
    assert config["process"]["capabilities"]["permitted"] == []
    assert config["process"]["user"] == {"uid": 1000, "gid": 100, "additionalGids": [100, 27]}


def test_no_new_privileges_is_set_only_when_asked_for() -> None:
    assert _build(Options())["process"]["noNewPrivileges"] is False
    for text in ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"):
        assert _build(Options(security_opt=(text,)))["process"]["noNewPrivileges"] is True


def test_seccomp_can_be_switched_off_or_replaced() -> None:
    assert "seccomp" not in _build(Options(security_opt=("seccomp=unconfined",)))["linux"]
    own = (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    assert (
        _build(Options(security_opt=(f"seccomp={own}",)))["linux"]["seccomp"]["defaultAction"]
        == "SCMP_ACT_ALLOW"
    )
    for wrong in ("seccomp=/nowhere/profile.json", "seccomp={", "color=red", "label=user:me"):
        with pytest.raises(Exception, match=r"security option|seccomp profile"):
            _build(Options(security_opt=(wrong,)))


def test_privileged_takes_masks_and_filters_away() -> None:
    config = _build(Options(privileged=True))
    assert "maskedPaths" not in config["linux"]
    assert "seccomp" not in config["linux"]
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "ro" not in _mount(config, "/sys")["options"]
    assert set(config["process"]["capabilities"]["effective"]) >= {"CAP_SYS_ADMIN", "CAP_CHOWN"}


def test_capabilities_are_added_and_dropped_by_either_name() -> None:
    config = _build(Options(cap_add=("net_admin",), cap_drop=("CAP_MKNOD",)))
    names = config["process"]["capabilities"]["bounding"]
    assert "CAP_NET_ADMIN" in names
    assert "CAP_MKNOD" not in names
    assert _build(Options(cap_drop=("all",), cap_add=("chown",)))["process"]["capabilities"]["bounding"] == [
        "CAP_CHOWN"
    ]
    with pytest.raises(InvalidArgument, match="CAP_NOTHING"):
        _build(Options(cap_add=("nothing",)))


def test_limits_are_translated_and_contradictions_refused() -> None:
    config = _build(
        Options(
            memory=64 << 20,
            cpus=1,
            cpu_shares=512,
            cpuset_cpus="0",
            pids_limit=50,
            ulimits=(Ulimit("core", 0, -1),),
        )
    )
    assert config["linux"]["resources"]["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert config["linux"]["resources"]["cpu"] == {
        "shares": 512,
        "period": 100000,
        "quota": 100000,
        "cpus": "0",
    }
    assert config["linux"]["resources"]["pids"] == {"limit": 50}
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}]
    for wrong in (
        Options(memory=1 << 20),
        Options(memory_swap=1 << 30),
        Options(memory=64 << 20, memory_swap=32 << 20),
        Options(cpus=10000.0),
        Options(cpus=1.0, cpu_quota_us=1000),
    ):
        with pytest.raises(InvalidArgument):
            _build(wrong)


def test_swap_is_left_out_where_the_kernel_does_not_count_it() -> None:
    assert _build(Options(memory=64 << 20), swap=False)["linux"]["resources"]["memory"] == {"limit": 64 << 20}


def test_namespaces_are_shared_or_joined_as_asked() -> None:
    config = _build(Options(network="host", uts="host", pid="container:other"), pids={"pid": 42})
    made = {each["type"]: each.get("path") for each in config["linux"]["namespaces"]}
    assert "network" not in made
    assert "uts" not in made
    assert made["pid"] == "/proc/42/ns/pid"
    assert "hostname" not in config
    with pytest.raises(InvalidArgument, match="network mode 'bridge:'"):
        namespaces.joined(Options(network="bridge:"))


def test_a_users_mount_replaces_the_default_at_its_place() -> None:
    tmpfs = MountOption("tmpfs", "/dev/shm", tmpfs_options=("size=1m", "exec"))
    config = _build(Options(), places=(Place(tmpfs, ""),))
    assert _mount(config, "/dev/shm")["options"] == ["nosuid", "nodev", "rprivate", "size=1m", "exec"]


def test_mounts_are_made_parents_first() -> None:
    places = (
        Place(MountOption("bind", "/data/deep/er", "/b"), "/b"),
        Place(MountOption("bind", "/data", "/a", read_only=True), "/a"),
    )
    config = _build(Options(), places=places)
    assert [mount["destination"] for mount in config["mounts"]][-2:] == ["/data", "/data/deep/er"]
    assert _mount(config, "/data")["options"] == ["rbind", "rro", "rprivate"]


def test_the_working_directory_is_the_users_or_the_images() -> None:
    assert _build(Options(), _image(Cmd=["a"], WorkingDir="/srv/../x"))["process"]["cwd"] == "/x"
    with pytest.raises(InvalidArgument, match="absolute"):
        _build(Options(workdir="relative"))


def test_init_is_process_one_and_hands_the_command_on() -> None:
    config = _build(Options(init=True, args=("a",)), reaper="/host/reaper")
    assert config["process"]["args"] == ["/sbin/docker-init", "--", "a"]
    assert "ro" in _mount(config, "/sbin/docker-init")["options"]


def test_the_cgroup_is_one_directory_or_below_the_parent() -> None:
    assert _build(Options())["linux"]["cgroupsPath"] == f"/cloche-{_ID}"
    assert _build(Options(cgroup_parent="a/../../b"))["linux"]["cgroupsPath"] == f"/b/{_ID}"
