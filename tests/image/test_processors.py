"""Stream processors: layers that become ordinary ones in programs, and programs that do not do their part."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import (
    ClocheError,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from cloche.image import archive, processors
from cloche.image.layer import LayerLimits
from cloche.image.processors import Processor, Processors
from cloche.store.images import Image
from tests.image.stores import NAMESPACE, Stores
from tests.image.tars import Tar
from tests.layouts import Layout

ODD = "application/vnd.test.layer.v1.rot13"
OUTER = "application/vnd.test.layer.v1.rot13+outer"
TAR = "application/vnd.oci.image.layer.v1.tar"
ROT13 = "tr 'A-Za-z' 'N-ZA-Mn-za-m'"


def rot13(data: bytes) -> bytes:
    letters = bytes(range(65, 91)), bytes(range(97, 123))
    turned = b"".join(each[13:] + each[:13] for each in letters)
    return data.translate(bytes.maketrans(b"".join(letters), turned))


def sh(script: str, *, accepts: str = ODD, returns: str = TAR, name: str = "rot13") -> Processor:
    return Processor(name, (accepts,), returns, "sh", ("-c", script, "processor"), ("LC_ALL=C",))


def read(one: Processor | Processors, data: bytes, media_type: str = ODD, **more: object) -> bytes:
    """All that comes out of it for a layer of these bytes."""
    all_of_them = one if isinstance(one, Processors) else Processors((one,), idle_s=10.0)
    before = len(os.listdir("/proc/self/fd"))
    try:
        with all_of_them.opened(io.BytesIO(data), media_type, layer="layer x", **more) as source:  # type: ignore[arg-type]  # handed on
            return b"".join(iter(lambda: source.read(1000), b""))
    finally:
        assert len(os.listdir("/proc/self/fd")) <= before


def test_a_layer_goes_through_the_program_for_its_type() -> None:
    data = os.urandom(1 << 20)
    assert read(sh(ROT13), rot13(data)) == data


def test_programs_follow_each_other_until_a_layer_comes_out() -> None:
    both = Processors((sh(ROT13), sh("gzip -dc", accepts=OUTER, returns=ODD, name="outer")))
    assert read(both, gzip.compress(rot13(b"hello")), OUTER) == b"hello"


def test_an_ordinary_layer_needs_none_but_may_have_one() -> None:
    assert read(sh(ROT13), b"hello", TAR) == b"hello"
    assert read(sh(ROT13, accepts=TAR), b"uryyb", TAR) == b"hello"


def test_a_program_is_told_the_type_and_reads_its_payload() -> None:
    script = 'printf %s "$STREAM_PROCESSOR_MEDIATYPE $LC_ALL "; cat <&3; cat'
    assert read(sh(script), b" rest", payloads={"rot13": b"key"}) == f"{ODD} C key rest".encode()


def test_what_follows_no_program_is_no_layer() -> None:
    with pytest.raises(InvalidArgument, match=f"{ODD}.*, as outer returns it, is no layer"):
        Processors((sh(ROT13, accepts=OUTER, returns=ODD, name="outer"),)).chain(OUTER)
    with pytest.raises(InvalidArgument, match=r"is encrypted: \[stream_processors\]"):
        processors.NONE.chain(TAR + "+gzip+encrypted")
    assert processors.NONE.chain(TAR + "+gzip") == ()


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        (
            "echo first >&2; echo the key is missing >&2; exit 3",
            FailedPrecondition,
            "exit code 3: the key is",
        ),
        ("head -c 100; kill -9 $$", FailedPrecondition, "killed by signal 9"),
        ("exec sleep 600", DeadlineExceeded, "has stood still for 0.3 s"),
        ("cat; exec >&-; exec sleep 600", DeadlineExceeded, "did not end"),
        ("exec yes", ResourceExhausted, "more than may come out of a layer"),
    ],
)
def test_a_program_that_does_not_do_its_part_is_ended(
    script: str, error: type[ClocheError], says: str
) -> None:
    limits = LayerLimits(floor_bytes=1 << 20)
    with pytest.raises(error, match=f"layer x: stream processor 'rot13'.*{says}"):
        read(Processors((sh(script),), idle_s=0.3), b"x" * (1 << 18), limits=limits)


def test_a_program_that_is_not_there_is_named() -> None:
    missing = Processor("gone", (ODD,), TAR, "/nowhere/decrypt")
    with pytest.raises(FailedPrecondition, match="'gone': /nowhere/decrypt: cannot be executed: no such"):
        read(missing, b"")


def test_the_first_of_several_that_fails_is_told_of() -> None:
    both = (sh("cat", name="second"), sh("echo no >&2; exit 1", accepts=OUTER, returns=ODD, name="first"))
    with pytest.raises(FailedPrecondition, match="'first': exit code 1: no"):
        read(Processors(both), b"data" * 100_000, OUTER)


def odd_image(where: Path, layer: bytes, sent: bytes, *, name: str = "test:1") -> Path:
    """A layout of one image whose layer is of another type."""
    layout = Layout(where)
    layout.image(name, [layer], compressed=False)
    index = json.loads((where / "index.json").read_text())
    manifest = json.loads((where / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    manifest["layers"] = [layout.blob(sent, ODD)]
    described = layout.document(manifest, manifest["mediaType"])
    index["manifests"][0] |= {key: described[key] for key in ("digest", "size")}
    (where / "index.json").write_text(json.dumps(index))
    return where


def brought(stores: Stores, where: Path, all_of_them: Processors) -> tuple[Image, ...]:
    return archive.load(
        str(where), content=stores.content, metadata=stores.metadata, namespace=NAMESPACE,
        snapshotter=stores.snapshotter, processors=all_of_them,
    )  # fmt: skip


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", ["overlayfs", "native"])
def test_an_image_of_such_layers_is_unpacked(tmp_path: Path, kind: str) -> None:
    layer = Tar().add("greeting", data=b"hello").bytes()
    where = odd_image(tmp_path / "layout", layer, rot13(layer))
    stores = Stores(tmp_path / "root", kind)
    with pytest.raises(InvalidArgument, match=f"of type {ODD!r} is no layer"):
        brought(stores, where, processors.NONE)
    with pytest.raises(FailedPrecondition, match="'rot13': exit code 5: wrong key"):
        brought(stores, where, Processors((sh("echo wrong key >&2; exit 5"),)))
    with pytest.raises(ClocheError, match="layer sha256:"):
        brought(stores, where, Processors((sh("head -c 5000 /dev/urandom"),)))
    with pytest.raises(DataLoss, match=f"not sha256:{hashlib.sha256(layer).hexdigest()}"):
        brought(stores, where, Processors((sh(f"{ROT13} | sed s/hello/olleh/"),)))
    assert (stores.snapshots(), stores.leftovers()) == ([], [])
    (row,) = brought(stores, where, Processors((sh(ROT13),)))
    with stores.show(stores.chosen(row).chain_id, tmp_path / "shown") as shown:
        assert (shown / "greeting").read_text() == "hello"


def test_the_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert processors.configured(str(file)) == processors.NONE
    file.write_text(
        f'[stream_processors.a]\naccepts = ["{ODD}"]\nreturns = "{TAR}"\npath = "tr"\nargs = ["a", "b"]\n'
    )
    found = processors.configured(str(file)).each
    assert found == (Processor("a", (ODD,), TAR, "tr", ("a", "b")),)
    for wrong, says in (
        ('[stream_processors.a]\naccepts = ["x"]\nreturns = "y"\n', "a.path: is needed"),
        ('[stream_processors.a]\naccepts = "x"\n', "a.accepts: must be an array"),
        ("stream_processors = 1", "must be an object"),
        ('[stream_processors.a]\naccepts=["x"]\nreturns="y"\npath="z"\nenv=["x"]', "'x': must be NAME=VALUE"),
        ("[", "is no TOML"),
    ):
        file.write_text(wrong)
        with pytest.raises(InvalidArgument, match=says):
            processors.configured(str(file))


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"[stream_processors]\n{text}".encode())
)
def test_whatever_a_configuration_says_is_read_or_refused(data: bytes) -> None:
    directory = Path(tempfile.mkdtemp(prefix="p-"))
    try:
        (directory / "config.toml").write_bytes(data)
        processors.configured(str(directory / "config.toml"))
    except InvalidArgument:
        pass
    finally:
        shutil.rmtree(directory)
