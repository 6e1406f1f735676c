"""What an administrator's config.json adds to a container's, and what it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri import base_spec
from cloche.errors import InvalidArgument

OWN: Any = {
    "ociVersion": "1.0.2",
    "process": {"args": ["sh"], "env": ["PATH=/bin", "B=2"], "cwd": "/", "capabilities": {}},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "annotations": {"own": "yes"},
    "linux": {"namespaces": [{"type": "mount"}], "resources": {"devices": []}, "maskedPaths": []},
}


def laid(base: dict[str, Any]) -> Any:
    return base_spec.lay_over(base, OWN)


def test_what_only_the_base_says_stays() -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}]
    hooks = {"poststop": [{"path": "/bin/true"}]}
    mounts = [{"destination": "/proc", "source": "other"}, {"destination": "/extra", "source": "/x"}]
    found = laid(
        {
            "process": {"rlimits": limits, "env": ["A=1", "PATH=/none"], "args": ["no"]},
            "hooks": hooks,
            "mounts": mounts,
            "annotations": {"own": "no", "more": "1"},
            "linux": {
                "sysctl": {"net.ipv4.ip_forward": "1"},
                "resources": {"unified": {"a": "b"}, "devices": [1]},
            },
        }
    )
    assert found["process"]["rlimits"] == limits
    assert found["process"]["args"] == ["sh"]
    assert found["process"]["env"] == ["A=1", "PATH=/bin", "B=2"]
    assert found["hooks"] == hooks
    assert found["mounts"] == [OWN["mounts"][0], mounts[1]]
    assert found["annotations"] == {"own": "yes", "more": "1"}
    assert found["linux"]["sysctl"] == {"net.ipv4.ip_forward": "1"}
    assert found["linux"]["resources"] == {"unified": {"a": "b"}, "devices": []}


def test_the_base_grants_nothing_that_the_pod_does_not() -> None:
    found = laid(
        {
            "process": {
                "apparmorProfile": "x",
                "selinuxLabel": "y",
                "capabilities": {"bounding": ["CAP_ALL"]},
            },
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "namespaces": []},
        }
    )
    assert found == OWN


@pytest.mark.parametrize("text", ["[]", "3", '{"process": []}', '{"linux": 1}', "{", ""])
def test_what_is_no_configuration_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=str(path)):
        base_spec.load(str(path))


def test_without_a_file_there_is_none_and_one_that_is_gone_is_an_error(tmp_path: Path) -> None:
    assert base_spec.load("") is None
    with pytest.raises(InvalidArgument, match="cannot be read"):
        base_spec.load(f"{tmp_path}/none")


@given(st.dictionaries(st.sampled_from(("hooks", "hostname", "linux", "process", "mounts")), st.just({})))
def test_any_part_may_be_missing(base: dict[str, Any]) -> None:
    assert json.loads(json.dumps(laid(base)))["process"]["args"] == ["sh"]
