"""What a container can see and do, asked from inside it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from tests.bundles import Bundle
from tests.runtime.containers import Runtime


def mountpoints(text: str) -> set[str]:
    return {line.split()[4] for line in text.splitlines()}


def test_only_the_configured_mounts_are_there(runtime: Runtime, bundle: Bundle) -> None:
    seen = mountpoints(runtime.output(bundle, "cat /proc/self/mountinfo"))
    wanted = {mount["destination"] for mount in bundle.config["mounts"]} | {"/"}
    masked = set(bundle.linux["maskedPaths"]) | set(bundle.linux["readonlyPaths"])
    assert wanted <= seen
    assert all(point in wanted | masked or point.startswith("/sys/fs/cgroup/") for point in seen)


def test_nothing_of_a_container_is_in_the_hosts_mount_table(runtime: Runtime, bundle: Bundle) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with runtime.running(bundle):
        assert Path("/proc/self/mountinfo").read_text() == before


def test_a_mount_made_inside_does_not_reach_the_host(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    bundle.config["mounts"].append({"destination": "/shared", "source": str(shared), "options": ["rbind"]})
    for kind in bundle.process["capabilities"].values():
        kind.append("CAP_SYS_ADMIN")
    runtime.output(bundle, "mkdir /shared/sub && mount -t tmpfs none /shared/sub && touch /shared/sub/file")
    assert os.listdir(shared / "sub") == []


def test_a_read_only_root_cannot_be_written(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    status, text = runtime.run(bundle, "touch", "/file")
    assert status != 0
    assert "Read-only" in text


@pytest.mark.parametrize("options", [["bind", "ro"], ["rbind", "rro"]])
def test_a_read_only_bind_cannot_be_written(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, options: list[str]
) -> None:
    bundle.config["mounts"].append({"destination": "/data", "source": str(tmp_path), "options": options})
    status, text = runtime.run(bundle, "touch", "/data/file")
    assert status != 0
    assert "Read-only" in text


def test_a_bind_of_a_file_shows_the_file(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("content")
    mount = {"destination": "/new/place/one", "source": str(tmp_path / "one"), "options": ["bind"]}
    bundle.config["mounts"].append(mount)
    assert runtime.output(bundle, "cat /new/place/one") == "content"


def test_masked_and_read_only_paths_hold(runtime: Runtime, bundle: Bundle) -> None:
    script = "cat /proc/keys; ls /sys/firmware; echo 1 > /proc/sys/kernel/domainname 2>&1 || echo refused"
    assert runtime.output(bundle, script).splitlines()[-1].endswith("refused")


def test_a_symlinked_destination_stays_inside_the_root(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """The attack of CVE-2021-30465 and its kin: the image's own links name the mount's target."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "link").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to("../../../../../../.." + str(outside))
    for name in ("link", "up"):
        mount = {"destination": f"/{name}/{name}", "type": "tmpfs", "source": "x", "options": []}
        bundle.config["mounts"].append(mount)
    runtime.output(bundle, "touch /link/link/file /up/up/file")
    assert os.listdir(outside) == []


def test_capabilities_are_the_configured_ones(runtime: Runtime, bundle: Bundle) -> None:
    names = ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"]
    mask = 1 << 5 | 1 << 0 | 1 << 13
    for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        bundle.process["capabilities"][kind] = names
    lines = runtime.output(bundle, "grep Cap /proc/self/status").split()
    assert [int(value, 16) for value in lines[1::2]] == [mask] * 5


def test_ambient_capabilities_reach_a_program_of_another_user(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50, 60]}
    for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        bundle.process["capabilities"][kind] = ["CAP_NET_RAW"]
    text = runtime.output(bundle, "id; grep CapEff /proc/self/status; echo $HOME; umask")
    assert "uid=1000" in text
    assert "50(staff),60" in text
    assert text.split("CapEff:")[1].split()[:3] == [f"{1 << 13:016x}", "/home/alice", "0022"]


def test_no_new_privs_and_rlimits_are_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    text = runtime.output(bundle, "grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -H -n")
    assert text.split() == ["NoNewPrivs:", "1", "100", "200"]


def test_signals_are_reset(runtime: Runtime, bundle: Bundle) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and what is ignored survives execve."""
    text = runtime.output(bundle, "exec grep -E 'Sig(Blk|Ign)' /proc/self/status")
    assert set(text.split()[1::2]) == {"0" * 16}


def test_sysctls_are_the_containers_own(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
    before = Path("/proc/sys/kernel/shmmni").read_text()
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni"
    assert runtime.output(bundle, script).split() == ["1", "77"]
    assert Path("/proc/sys/kernel/shmmni").read_text() == before


def test_a_user_namespace_maps_ids_and_owns_the_rest(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping
    for path in (bundle.rootfs, *(bundle.rootfs / name for name in os.listdir(bundle.rootfs))):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    script = "cat /proc/self/uid_map; id -u; echo x > /dev/null && stat -c %t:%T /dev/null; hostname changed"
    bundle.process["capabilities"]["effective"].append("CAP_SYS_ADMIN")
    bundle.process["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
    bundle.process["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    lines = runtime.output(bundle, script).split()
    assert lines == ["0", "100000", "65536", "0", "1:3"]


def test_namespaces_are_joined_by_path(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as first:
        path = f"/proc/{first.pid}/ns/net"
        for namespace in bundle.linux["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = path
        assert runtime.output(bundle, "readlink /proc/self/ns/net").strip() == os.readlink(path)


def test_a_private_network_has_loopback_up_and_nothing_else(runtime: Runtime, bundle: Bundle) -> None:
    text = runtime.output(bundle, "ip -o link | cut -d: -f2; ip -o link show lo")
    assert text.split()[0] == "lo"
    assert "UP" in text
    assert runtime.output(bundle, "ls /sys/class/net").split() == ["lo"]


def test_limits_hold(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 5}
    bundle.linux["resources"]["memory"] = {"limit": 20 << 20}
    text = runtime.output(bundle, "(for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done) 2>&1; true")
    assert "fork" in text
    status, _ = runtime.run(bundle, "sh", "-c", "head -c 60m /dev/zero | tail -c 60m > /dev/null")
    assert status == 128 + signal.SIGKILL


def test_devices_that_are_not_allowed_cannot_be_opened(runtime: Runtime, bundle: Bundle) -> None:
    for kind in ("effective", "permitted", "bounding"):
        bundle.process["capabilities"][kind].append("CAP_MKNOD")
    text = runtime.output(bundle, "mknod /disk b 254 0 && head -c 1 /disk 2>&1 || echo refused")
    assert "not permitted" in text
    assert "refused" in text


def test_a_working_directory_is_made_and_one_outside_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/made/here"
    assert runtime.output(bundle, "pwd").strip() == "/made/here"
    # CVE-2024-21626: a descriptor of the host's, reached by its magic link, whatever its number.
    for number in range(3, 24):
        bundle.process["cwd"] = f"/proc/self/fd/{number}"
        with pytest.raises(ClocheError, match=r"process\.cwd"):
            runtime.create(bundle)


def test_the_executable_of_init_is_a_sealed_copy(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2019-5736: between clone and exec, /proc/PID/exe must not lead to a file of the host."""
    container, process = runtime.create(bundle.command("true"))
    with process:
        assert os.readlink(f"/proc/{process.pid}/exe").startswith("/memfd:cloche-init")
        with pytest.raises(OSError, match=r"busy|permitted|denied"):
            os.close(os.open(f"/proc/{process.pid}/exe", os.O_WRONLY))
        container.delete(force=True)
        process.wait()


@pytest.mark.parametrize("call", ["getcwd", "faccessat2"])
def test_a_filter_loaded_early_need_not_allow_what_the_checks_before_execve_call(
    runtime: Runtime, bundle: Bundle, call: str
) -> None:
    bundle.process["noNewPrivileges"] = False
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [call], "action": "SCMP_ACT_ERRNO"}],
    }
    assert runtime.run(bundle, "echo", "here") == (0, "here\n")


def test_a_tmpfs_keeps_the_permissions_of_the_directory_it_covers(runtime: Runtime, bundle: Bundle) -> None:
    for name in ("private", "asked"):
        (bundle.rootfs / name).mkdir(mode=0o750)
    for path, options in (("/private", []), ("/new", []), ("/asked", ["mode=711"])):
        mount = {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}
        bundle.config["mounts"].append(mount)
    assert runtime.output(bundle, "stat -c %a /private /new /asked").split() == ["750", "1777", "711"]
