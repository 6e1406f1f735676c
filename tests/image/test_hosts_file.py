"""hosts.toml, as containerd's documentation has it."""

from __future__ import annotations

import contextlib
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.image import hosts_file
from cloche.image.hosts import EVERYTHING, Host

PATH = "/etc/containerd/certs.d/a.example/hosts.toml"

FULL = """\
server = "https://upstream.example"
capabilities = ["pull", "Resolve"]
ca = "root.pem"

[host."https://first.example:5000"]
  capabilities = ["pull", "referrers"]
  ca = ["one.pem", "/two.pem"]
  client = [["me.cert", "me.key"], "both.pem"]
  dial_timeout = "1m500ms"
  [host."https://first.example:5000".header]
    X-One = "1"
    X-Both = ["2", "3"]

[host."http://second.example/cache"]
  skip_verify = true

[host.'third.example/whole/v3']
  override_path = true
"""


def parse(text: str, domain: str = "a.example") -> tuple[Host, ...]:
    return hosts_file.parse(text.encode(), domain, PATH)


def test_hosts_come_in_the_files_order_and_the_server_last() -> None:
    first, second, third, server = parse(FULL)
    assert first == Host(
        "first.example:5000",
        "https",
        capabilities=frozenset({"pull"}),
        ca=("/etc/containerd/certs.d/a.example/one.pem", "/two.pem"),
        client_certificates=(
            ("/etc/containerd/certs.d/a.example/me.cert", "/etc/containerd/certs.d/a.example/me.key"),
            ("/etc/containerd/certs.d/a.example/both.pem", ""),
        ),
        headers={"X-One": "1", "X-Both": "2, 3"},
        namespace="a.example",
        connect_timeout_s=60.5,
        is_mirror=True,
        origin=f"{PATH}:5",
    )
    assert (second.scheme, second.prefix, second.verify, second.origin) == (
        "http",
        "/cache/v2",
        False,
        f"{PATH}:14",
    )
    assert (third.scheme, third.authority, third.prefix) == ("https", "third.example", "/whole/v3")
    assert (server.authority, server.is_mirror, server.namespace) == ("upstream.example", False, "a.example")
    assert server.capabilities == {"pull", "resolve"}
    assert server.ca == ("/etc/containerd/certs.d/a.example/root.pem",)


def test_without_a_server_the_registry_itself_comes_last() -> None:
    (own,) = parse('ca = "/ca.pem"\n')
    assert (own.authority, own.scheme, own.ca, own.capabilities) == (
        "a.example",
        "https",
        ("/ca.pem",),
        EVERYTHING,
    )
    mirror, hub = parse('[host."https://m.example"]', "docker.io")
    assert (mirror.namespace, hub.authority, hub.namespace) == ("docker.io", "registry-1.docker.io", "")


def test_a_registry_under_its_own_name_is_no_mirror_of_itself() -> None:
    for text in ('[host."https://a.example"]', 'server = "https://a.example"', 'server = "a.example/v2/"'):
        own = parse(text)[0]
        assert (own.is_mirror, own.namespace, own.prefix) == (False, "", "/v2")
    hub = parse('server = "https://registry-1.docker.io"', "docker.io")[0]
    assert (hub.is_mirror, hub.namespace) == (False, "")


def test_keys_that_mean_nothing_are_remembered() -> None:
    mirror, own = parse('skip_verfy = true\n[host."m.example"]\nserver = "a.example"\nca = "ca.pem"\n')
    assert (mirror.ignored, own.ignored) == (("server",), ("skip_verfy",))
    assert all(host.ignored == () for host in parse(FULL))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server =", "is no TOML"),
        ("server = 1", "server: must be a string"),
        ('server = "ftp://a"', "must be http"),
        ('server = "https://me:secret@a.example"', "a login in an address is not used"),
        ('server = "https://"', "must be http"),
        ('server = "https://a:b"', "is no web address"),
        ('capabilities = ["fly"]\nserver = "a"', "'fly' must be pull, resolve or push"),
        ("ca = [1]", r"ca\[0\]: must be a string"),
        ('client = [["one"]]', r"client\[0\]: must be FILE or"),
        ('skip_verify = "yes"', "skip_verify: must be true or false"),
        ('dial_timeout = "soon"', "dial_timeout: 'soon' is no length of time"),
        ('dial_timeout = "2h"', "at most an hour"),
        ('[header]\nX-A = "a\\nX-B: c"', "must be of printable ASCII"),
        ('[header]\n"X A" = "a"', "is no header's name"),
        ("host = 1", "host: must be an object"),
        ("[host]\na = 1", "host.'a': must be an object"),
    ],
)
def test_what_a_file_may_not_say_is_refused_with_its_name(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        parse(text)
    assert str(caught.value).startswith(PATH)
    assert "\n" not in str(caught.value)


TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=20)
URLS = (
    st.sampled_from(["https://m.example", "http://m:1/v2", "m", "//", "http://[", "https://m/%2e/.."]) | TEXTS
)
VALUES = st.sampled_from(
    ["true", "1", '"x"', '["pull"]', '["a", "b"]', "{}", '[["a", "b"]]', '"5s"', "1979-05-27"]
)
KEYS = st.sampled_from(
    [
        "server",
        "capabilities",
        "ca",
        "client",
        "skip_verify",
        "header",
        "override_path",
        "dial_timeout",
        "new",
    ]
)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{ord(each):04x}" for each in text) + '"'


@given(
    st.lists(st.tuples(KEYS, VALUES), unique_by=lambda row: row[0]), st.lists(URLS, unique=True, max_size=4)
)
@example([], ["http://]"])
def test_whatever_the_tables_hold_hosts_or_a_refusal_come_of_it(
    rows: list[tuple[str, str]], urls: list[str]
) -> None:
    table = "\n".join(f"{key} = {value}" for key, value in rows)
    text = table + "".join(f"\n[host.{_quoted(url)}]\n{table}" for url in urls) + "\n"
    tomllib.loads(text)
    try:
        found = parse(text)
    except InvalidArgument:
        return
    assert len(found) == len(urls) + 1
    for host in found:
        assert host.scheme in ("http", "https", "")
        assert host.authority.isascii()
        assert not host.prefix or host.prefix.startswith("/")


@given(st.binary(max_size=60))
def test_bytes_that_are_no_toml_are_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        hosts_file.parse(data, "a.example", PATH)
