"""A plugin of the NRI project itself, written in Go with its stub, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.pods import container_config, pod_config, running_pod
from tests.waiting import wait_until

PLUGIN = "ulimit-adjuster"


def test_the_ulimit_adjuster_adjusts_ulimits(
    running: KubernetesNode, kubelet: Kubelet, image: str, tmp_path: Path
) -> None:
    program = shutil.which(PLUGIN)
    if program is None:
        pytest.skip(f"no {PLUGIN} on PATH: build plugins/{PLUGIN} of github.com/containerd/nri with go build")
    words = [program, "-name", PLUGIN, "-idx", "10", "-socket", f"{running.directory}/nri.sock"]
    wanted = {"ulimits.noderesource.dev/container.one": "- type: nofile\n  hard: 300\n  soft: 200\n"}
    plugin = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: f"10-{PLUGIN} is there" in running.log.read_text())
        with running_pod(kubelet, pod_config(tmp_path, annotations=wanted)) as pod:
            container = pod.run(container_config(image, "ulimit -n; ulimit -Hn", name="one"))
            container.ended()
            assert [line.split()[-1] for line in container.log().splitlines()] == ["200", "300"]
    finally:
        plugin.terminate()
        plugin.wait(10)
    wait_until(lambda: f"10-{PLUGIN} is dropped: its connection is gone" in running.log.read_text())
