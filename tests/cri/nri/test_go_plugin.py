"""A plugin that others use, written in Go with the NRI project's stub."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.pods import container_config, pod_config, running_pod
from tests.cri.tools import required, tool
from tests.waiting import wait_until

PLUGIN = "memory-qos"


def test_a_plugin_for_the_quality_of_memory_sets_it(
    running: KubernetesNode, kubelet: Kubelet, image: str, tmp_path: Path
) -> None:
    with required():
        program = tool(PLUGIN)
    config = tmp_path / "config.yaml"
    config.write_text('unifiedAnnotations: ["memory.high"]\n')
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{running.directory}/nri.sock")
        plugin = subprocess.Popen(
            [program, "-name", PLUGIN, "-idx", "10", "-config", str(config)],
            # It has no flag for where the socket is.
            env={"NRI_PLUGIN_SOCKET": str(connection.fileno())},
            pass_fds=[connection.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    asked = {"memory.high.memory-qos.nri.io/one": "12345678"}
    try:
        wait_until(lambda: f"10-{PLUGIN} is there" in running.log.read_text())
        with running_pod(kubelet, pod_config(tmp_path, annotations=asked)) as pod:
            one, two = (pod.create(container_config(image, "true", name=name)) for name in ("one", "two"))
            assert one.spec()["linux"]["resources"]["unified"] == {"memory.high": "12345678"}
            assert "unified" not in two.spec()["linux"]["resources"]
    finally:
        plugin.terminate()
        plugin.wait(10)
    wait_until(lambda: f"10-{PLUGIN} is dropped: its connection is gone" in running.log.read_text())
