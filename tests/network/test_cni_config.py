"""Reading CNI configurations and results: what is wrong is refused in one line, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.network import cni_config, cni_result

_TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _maybe(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects in which these keys are often there, with anything as their value."""
    return st.dictionaries(st.sampled_from(keys) | st.text(max_size=6), _TREES, max_size=len(keys))


def refusal(read: Callable[[], object]) -> str | None:
    """What is said against an input, in one line; None where it is taken."""
    try:
        read()
    except InvalidArgument as error:
        words = str(error)
    else:
        return None
    assert "\n" not in words
    return words


@given(_maybe("name", "cniVersion", "cniVersions", "plugins", "disableCheck", "disableGC", "type"))
def test_any_document_is_a_network_or_refused(value: dict[str, Any]) -> None:
    refused = refusal(lambda: cni_config.parse(value, "/nowhere/x.conflist"))
    if refused is None:
        network = cni_config.parse(value, "/nowhere/x.conflist")
        assert network.plugins
        assert network.version in cni_config.VERSIONS
    else:
        assert refused.startswith("/nowhere/x.conflist")


_ENTRY = _maybe("address", "gateway", "interface", "ip", "dst", "gw", "name", "mac", "mtu", "routes")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cniVersion": st.sampled_from([*cni_config.VERSIONS, "", "9.9.9"]) | _TREES,
            "ips": st.lists(_ENTRY, max_size=3) | _TREES,
            "interfaces": st.lists(_ENTRY, max_size=3) | _TREES,
            "routes": st.lists(_ENTRY, max_size=3) | _TREES,
            "ip4": _ENTRY | _TREES,
            "ip6": _ENTRY | _TREES,
            "dns": _maybe("nameservers", "domain", "search", "options") | _TREES,
        },
    )
)
def test_any_answer_is_a_result_or_refused(value: dict[str, Any]) -> None:
    refused = refusal(lambda: cni_result.parse(value, "net", "eth0", "1.0.0"))
    if refused is None:
        for ip in cni_result.parse(value, "net", "eth0", "1.0.0").ips:
            cni_result.check_cidr(ip.address, "it was read")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"name": "n"}', "plugins: there is none"),
        ('{"name": "n", "plugins": [{}]}', r"plugins\[0\].type: is missing"),
        ('{"name": "n", "plugins": [{"type": "../sh"}]}', "without a path"),
        ('{"name": "../n", "plugins": [{"type": "x"}]}', "must be letters"),
        ('{"plugins": [{"type": "x"}]}', "name: is missing"),
        ('{"name": "n", "cniVersion": "7", "plugins": [{"type": "x"}]}', "'7' is not known"),
        ('{"name": "n", "disableCheck": "maybe", "plugins": [{"type": "x"}]}', "must be true or false"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.conflist").write_text(text)
    with pytest.raises(InvalidArgument, match=words) as raised:
        cni_config.load(str(tmp_path))
    assert str(raised.value).startswith(str(tmp_path / "a.conflist"))


def test_plugins_may_be_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.conflist").write_text(json.dumps({"name": "n", "cniVersion": "1.1.0"}))
    (tmp_path / "n").mkdir()
    for name in ("20-b", "10-a"):
        (tmp_path / "n" / f"{name}.conf").write_text(json.dumps({"type": name}))
    (network,) = cni_config.load(str(tmp_path))
    assert [plugin["type"] for plugin in network.plugins] == ["10-a", "20-b"]
    # What is recorded stands for itself.
    assert cni_config.parse(network.document, "/elsewhere/a").plugins == network.plugins


def test_the_newest_version_that_both_know_is_spoken(tmp_path: Path) -> None:
    plugins = [{"type": "x"}]
    many = {
        "name": "n",
        "cniVersions": ["0.4.0", "1.0.0", "2.0.0"],
        "cniVersion": "0.3.1",
        "plugins": plugins,
    }
    assert cni_config.parse(many, "/x").version == "1.0.0"
    assert cni_config.parse({"name": "n", "plugins": plugins}, "/x").version == "0.1.0"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "..", "x" * 16, "a:b", "a\0"])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        cni_config.check_interface(name)
