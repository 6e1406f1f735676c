"""Whose blobs a namespace may use, by content_sharing_policy: containerd answers what we do."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cloche.daemon.blocking_client import BlockingChannel
from cloche.errors import FailedPrecondition, Unavailable
from cloche.wire.messages import content as messages
from tests import leftovers, peers
from tests.api.test_configuration import configured
from tests.cri.tools import built, new_containerd, required
from tests.daemons import Containerd, Ctrd, Registry
from tests.layouts import Layout

POLICY = '[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "{}"\n'
# containerd takes what nothing refers to soon after its start and after some changes, with no grace.
LATER = '[plugins."io.containerd.gc.v1.scheduler"]\nstartup_delay = "1h"\nmutation_threshold = 0\n'
SHARED, ISOLATED = "shared", "isolated"
COMMIT = messages.COMMIT


@contextmanager
def daemon_of(kind: str, policy: str) -> Iterator[Ctrd]:
    with ExitStack() as stack:
        if kind == "cloched":
            yield stack.enter_context(configured(POLICY.format(policy)))
            return
        with required():
            program = new_containerd()
        directory = Path(tempfile.mkdtemp(prefix="d-"))
        stack.callback(leftovers.remove_tree, str(directory))
        yield stack.enter_context(Containerd(directory, more=POLICY.format(policy) + LATER, program=program))


@pytest.fixture(scope="module", params=[SHARED, ISOLATED])
def policy(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module", params=["containerd", "cloched"])
def daemon(request: pytest.FixtureRequest, policy: str) -> Iterator[Ctrd]:
    peers.require_root()
    with daemon_of(request.param, policy) as running:
        yield running


@pytest.fixture(params=["ctr 1.6", "ctr 2.x"])
def ctr(daemon: Ctrd, request: pytest.FixtureRequest) -> Iterator[Ctrd]:
    """The daemon, asked by one of the two clients."""
    if request.param == "ctr 2.x":
        with required():
            daemon.client = (str(built("ctr")),)
    yield daemon
    daemon.client = ()


@pytest.fixture
def blob() -> bytes:
    return uuid.uuid4().bytes * 300


def digest_of(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


@pytest.fixture
def namespace() -> str:
    return f"n-{uuid.uuid4().hex[:8]}"


def ingest(ctr: Ctrd, namespace: str, blob: bytes, sent: bytes) -> int:
    """Have ctr write a blob for which it has these bytes; the exit code."""
    expected = ["--expected-digest", digest_of(blob), "--expected-size", str(len(blob)), "ref"]
    with tempfile.TemporaryFile() as file:
        file.write(sent)
        file.seek(0)
        command = ctr.ctr("-n", namespace, "content", "ingest", *expected)
        return subprocess.run(command, stdin=file, capture_output=True, timeout=60, check=False).returncode


def has(ctr: Ctrd, namespace: str, blob: bytes) -> bool:
    found = subprocess.run(
        ctr.ctr("-n", namespace, "content", "get", digest_of(blob)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert found.returncode or found.stdout == blob
    return found.returncode == 0


def test_a_blob_is_had_without_its_bytes_where_content_is_shared(
    ctr: Ctrd, policy: str, namespace: str, blob: bytes
) -> None:
    assert ingest(ctr, namespace, blob, blob) == 0
    other = f"{namespace}-b"
    assert not has(ctr, other, blob)
    done = ingest(ctr, other, blob, b"")
    assert (done == 0) == has(ctr, other, blob) == (policy == SHARED)
    assert ingest(ctr, other, blob, blob) == 0
    assert has(ctr, other, blob)
    # Once it has it, it need not send it again; and what ended leaves nothing that arrives.
    assert ingest(ctr, other, blob, b"") == 0
    assert "ref" not in ctr.ok("-n", other, "content", "active").split()


def test_a_namespace_that_says_so_is_shared_under_either_policy(
    ctr: Ctrd, namespace: str, blob: bytes
) -> None:
    assert ingest(ctr, namespace, blob, blob) == 0
    ctr.ok("namespaces", "label", namespace, "containerd.io/namespace.shareable=true")
    assert ingest(ctr, f"{namespace}-b", blob, b"") == 0
    assert has(ctr, f"{namespace}-b", blob)


def test_a_shareable_label_with_another_value_shares_nothing(
    daemon: Ctrd, policy: str, namespace: str, blob: bytes
) -> None:
    assert ingest(daemon, namespace, blob, blob) == 0
    daemon.ok("namespaces", "label", namespace, "containerd.io/namespace.shareable=yes")
    assert (ingest(daemon, f"{namespace}-b", blob, b"") == 0) == (policy == SHARED)


@pytest.fixture
def image(registry: Registry, tmp_path: Path) -> tuple[str, Path]:
    """An image of its own in the registry, and the file with its layer there."""
    layout = Layout(tmp_path / "layout")
    tar = tmp_path / "layer.tar"
    (tmp_path / "file").write_text(uuid.uuid4().hex)
    subprocess.run(["tar", "-C", tmp_path, "-cf", tar, "file"], check=True)
    layout.image("it", [tar.read_bytes()])
    known = set(registry.storage.glob("**/data"))
    reference = registry.push(f"oci:{layout.path}:it", f"{uuid.uuid4().hex[:8]}:1")
    new = set(registry.storage.glob("**/data")) - known
    return reference, next(each for each in new if each.read_bytes()[:2] == b"\x1f\x8b")


def test_a_pull_asks_the_registry_for_what_only_another_namespace_has(
    ctr: Ctrd, policy: str, namespace: str, image: tuple[str, Path]
) -> None:
    reference, layer = image
    pull = ("images", "pull", "--plain-http", reference)
    ctr.ok("-n", namespace, *pull)
    hidden = layer.rename(layer.with_name("hidden"))
    other = f"{namespace}-b"
    refused = ctr.run("-n", other, *pull)
    assert (refused.returncode == 0) == (policy == SHARED), refused.stderr
    hidden.rename(layer)
    ctr.ok("-n", other, *pull)
    assert set(ctr.ok("-n", other, "content", "ls", "-q").split()) == set(
        ctr.ok("-n", namespace, "content", "ls", "-q").split()
    )
    # What the namespace has it is not asked for again.
    layer.rename(hidden)
    ctr.ok("-n", other, *pull)


def test_an_archive_has_all_that_its_image_needs(ctr: Ctrd, namespace: str, archive: Path) -> None:
    for each in (namespace, f"{namespace}-b"):
        ctr.ok("-n", each, "images", "import", str(archive))
        assert "complete" in ctr.ok("-n", each, "images", "check")


class Writing:
    """One stream of the content service's Write, for a blob that is expected."""

    def __init__(self, daemon: Ctrd, namespace: str, blob: bytes) -> None:
        self.metadata = {"containerd-namespace": (namespace,)}
        self._channel = BlockingChannel(daemon.address)
        self._call = self._channel.call(messages.CONTENT, "Write", metadata=self.metadata, timeout_s=20)
        self._known = {"ref": "ref", "total": len(blob), "expected": digest_of(blob)}
        self._digest = digest_of(blob)

    def say(
        self, action: int, offset: int = 0, data: bytes = b"", labels: dict[str, str] | None = None
    ) -> messages.WriteContentResponse:
        request = messages.WriteContentRequest(
            action=action, offset=offset, data=data, labels=labels or {}, **self._known
        )
        self._call.send(request)
        answer: messages.WriteContentResponse | None = self._call.receive()
        assert answer is not None
        return answer

    def labels(self) -> dict[str, str]:
        request = messages.InfoRequest(digest=self._digest)
        answer = self._channel.unary(messages.CONTENT, "Info", request, metadata=self.metadata)
        return dict(answer.info.labels)

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def test_what_a_commit_says_of_a_blob_that_was_not_sent_is_kept(
    daemon: Ctrd, policy: str, namespace: str, blob: bytes
) -> None:
    """Its labels are what the collector follows from a manifest."""
    assert ingest(daemon, namespace, blob, blob) == 0
    with Writing(daemon, f"{namespace}-b", blob) as writing:
        begun = writing.say(messages.STAT)
        assert begun.offset == (len(blob) if policy == SHARED else 0)
        if policy == SHARED:
            assert begun.digest == digest_of(blob)
        else:
            writing.say(messages.WRITE, 0, blob)
        done = writing.say(COMMIT, len(blob), labels={"containerd.io/gc.ref.content.0": "sha256:0"})
        assert (done.offset, done.digest) == (len(blob), digest_of(blob))
        assert writing.labels() == {"containerd.io/gc.ref.content.0": "sha256:0"}


def test_who_sends_it_all_the_same_has_to_send_the_right_bytes(
    daemon: Ctrd, namespace: str, blob: bytes
) -> None:
    assert ingest(daemon, namespace, blob, blob) == 0
    for sent, fits in ((b"x" * len(blob), False), (blob, True)):
        other = f"{namespace}-{fits}".lower()
        with Writing(daemon, other, blob) as writing:
            writing.say(messages.STAT)
            assert writing.say(messages.WRITE, 0, sent).offset == len(blob)
            if fits:
                assert writing.say(COMMIT, len(blob)).digest == digest_of(blob)
            else:
                with pytest.raises(FailedPrecondition):
                    writing.say(COMMIT, len(blob))
        assert has(daemon, other, blob) == fits


def test_a_blob_that_is_removed_before_the_commit_has_to_be_sent(namespace: str, blob: bytes) -> None:
    with daemon_of("cloched", SHARED) as daemon:
        assert ingest(daemon, namespace, blob, blob) == 0
        with Writing(daemon, f"{namespace}-b", blob) as writing:
            assert writing.say(messages.STAT).offset == len(blob)
            daemon.ok("-n", namespace, "content", "rm", digest_of(blob))
            with pytest.raises(Unavailable, match="removed meanwhile"):
                writing.say(COMMIT, len(blob))
        assert daemon.ok("-n", f"{namespace}-b", "content", "ls", "-q") == ""
        assert ingest(daemon, f"{namespace}-b", blob, blob) == 0


def test_cri_has_no_more_than_other_namespaces(namespace: str, image: tuple[str, Path]) -> None:
    reference, layer = image
    with daemon_of("cloched", ISOLATED) as daemon:
        daemon.ok("-n", namespace, "images", "pull", "--plain-http", reference)
        crictl = [peers.command("cloche"), "crictl", "--runtime-endpoint", f"unix://{daemon.address}"]
        hidden = layer.rename(layer.with_name("hidden"))
        for there in (False, True):
            if there:
                hidden.rename(layer)
            done = subprocess.run(
                [*crictl, "pull", reference], capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode == 0) == there, done.stderr
        assert reference in daemon.ok("-n", "k8s.io", "images", "ls", "-q").split()


def test_another_word_for_the_policy_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 4\n" + POLICY.format("Isolated"))
    places = ["--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state", "--config", str(config)]
    command = [str(Path(sys.prefix, "bin", "cloched")), *places]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "cloched: plugins.io.containerd.metadata.v1.bolt.content_sharing_policy: "
        "shared or isolated is needed, not 'Isolated'\n"
    )
    assert not (tmp_path / "root").exists()
