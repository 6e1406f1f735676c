from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import InvalidArgument, NotFound, Unimplemented
from cloche.spec import image, platform
from cloche.spec.image import Descriptor, ImageConfig, Index, Manifest

DIGEST = "sha256:" + "1" * 64
LAYER = {"mediaType": image.OCI_LAYER_GZIP, "digest": DIGEST, "size": 3}
CONFIG = {"mediaType": image.OCI_CONFIG, "digest": DIGEST, "size": 2}
MANIFEST = {"schemaVersion": 2, "mediaType": image.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def manifest_with(**changes: Any) -> bytes:
    return encoded({**MANIFEST, **changes})


def index_of(*platforms: str | None, media_type: str = image.OCI_MANIFEST) -> Index:
    """An index with an entry for each platform; sizes tell the entries apart."""
    entries = []
    for number, text in enumerate(platforms):
        entry: dict[str, Any] = {"mediaType": media_type, "digest": DIGEST, "size": number}
        if text is not None:
            system, architecture, *variant = text.split("/")
            entry["platform"] = {"os": system, "architecture": architecture, "variant": "".join(variant)}
        entries.append(entry)
    found = image.parse(encoded({"schemaVersion": 2, "manifests": entries}), image.OCI_INDEX)
    assert isinstance(found, Index)
    return found


def test_a_manifest_is_read() -> None:
    found = image.parse(manifest_with(annotations={"a": "b"}), image.OCI_MANIFEST)
    assert found == Manifest(
        Descriptor(image.OCI_CONFIG, DIGEST, 2),
        (Descriptor(image.OCI_LAYER_GZIP, DIGEST, 3),),
        {"a": "b"},
        image.OCI_MANIFEST,
    )


@pytest.mark.parametrize("media_type", [image.OCI_MANIFEST, image.DOCKER_MANIFEST])
def test_oci_and_docker_manifests_are_the_same_to_us(media_type: str) -> None:
    found = image.parse_manifest(manifest_with(mediaType=media_type), f"{media_type}; charset=utf-8")
    assert found.media_type == media_type
    assert len(found.layers) == 1


def test_a_document_without_media_type_is_known_by_its_fields() -> None:
    bare = {key: value for key, value in MANIFEST.items() if key != "mediaType"}
    assert isinstance(image.parse(encoded(bare), "application/octet-stream"), Manifest)
    assert isinstance(image.parse(encoded({"schemaVersion": 2, "manifests": []})), Index)


@pytest.mark.parametrize(
    ("data", "media_type", "part"),
    [
        (b"", "", "not JSON"),
        (b"{", "", "not JSON"),
        (b"[]", "", "must be an object"),
        (b"{}", "", "schemaVersion"),
        (b'{"schemaVersion": 2}', "", "without media type"),
        (manifest_with(schemaVersion=3), "", "schemaVersion"),
        (manifest_with(schemaVersion="2"), "", "schemaVersion: must be an integer"),
        (manifest_with(schemaVersion=True), "", "schemaVersion: must be an integer"),
        (manifest_with(manifests=[]), "", "of an index and of a manifest"),
        (manifest_with(), image.OCI_INDEX, "announced as"),
        (manifest_with(mediaType=image.OCI_INDEX), "", "does not have the fields"),
        (manifest_with(mediaType="text/plain"), "", "text/plain is not an image"),
        (manifest_with(layers={}), "", "layers: must be an array"),
        (manifest_with(layers=[7]), "", "layers[0]: must be an object"),
        (manifest_with(layers=[{**LAYER, "size": -1}]), "", "layers[0].size"),
        (manifest_with(layers=[{**LAYER, "size": 1 << 63}]), "", "layers[0].size"),
        (manifest_with(layers=[{**LAYER, "size": 1.5}]), "", "layers[0].size"),
        (manifest_with(layers=[{**LAYER, "digest": "sha256:../../etc"}]), "", "layers[0].digest"),
        (manifest_with(layers=[{**LAYER, "urls": [1]}]), "", "layers[0].urls[0]"),
        (manifest_with(layers=[LAYER] * 501), "", "501 layers"),
        (manifest_with(config=None), "", "config"),
        (manifest_with(config={**CONFIG, "mediaType": 1}), "", "config.mediaType: must be a string"),
        (manifest_with(annotations={"a": 1}), "", "annotations['a']: must be a string"),
        (b'{"schemaVersion": 2, "x": "' + b"x" * (4 << 20) + b'"}', "", "more than the 4194304"),
        (b"[" * 100_000, "", "not JSON"),
    ],
)
def test_a_document_that_cannot_be_is_refused_naming_the_place(
    data: bytes, media_type: str, part: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        image.parse(data, media_type, name="a/b:1")
    assert str(caught.value).startswith("a/b:1")
    assert part in str(caught.value)


@pytest.mark.parametrize("media_type", image.SCHEMA1_TYPES)
def test_schema_1_is_refused_saying_what_to_do(media_type: str) -> None:
    with pytest.raises(Unimplemented, match="push the image again"):
        image.parse(b'{"schemaVersion": 1, "fsLayers": []}', media_type)
    with pytest.raises(Unimplemented, match="push the image again"):
        image.parse(b'{"schemaVersion": 1, "fsLayers": []}')


def test_embedded_data_must_be_what_the_digest_says() -> None:
    data = b"{}"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    entry = {"mediaType": "x/y", "digest": digest, "size": 2, "data": base64.b64encode(data).decode()}
    assert image.parse_descriptor(entry).data == data
    for wrong in ({"size": 3}, {"digest": DIGEST}, {"data": "?"}):
        with pytest.raises(InvalidArgument, match="data"):
            image.parse_descriptor({**entry, **wrong})


def test_a_descriptor_is_written_as_it_was_read() -> None:
    entry = {
        "mediaType": image.OCI_MANIFEST,
        "digest": DIGEST,
        "size": 5,
        "annotations": {"a": "b"},
        "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        "urls": ["https://a.example/b"],
    }
    assert image.parse_descriptor(entry).to_dict() == entry


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (("linux/amd64", "linux/arm64"), "linux/arm64", 1),
        (("linux/arm/v5", "linux/arm/v7", "linux/arm/v6"), "linux/arm/v7", 1),
        (("linux/arm/v5", "linux/arm/v6"), "linux/arm/v7", 1),
        (("linux/386", "linux/amd64"), "linux/amd64", 1),
        (("unknown/unknown", "linux/amd64"), "linux/amd64", 1),
        (("linux/amd64", "linux/amd64"), "linux/amd64", 0),
        ((None,), "linux/amd64", 0),
        ((None, "linux/amd64"), "linux/amd64", 1),
    ],
)
def test_the_best_entry_of_an_index_is_chosen(
    offered: tuple[str | None, ...], wanted: str, chosen: int
) -> None:
    assert image.choose(index_of(*offered), platform.parse(wanted)).size == chosen


def test_an_index_without_the_platform_says_what_it_has() -> None:
    index = index_of("linux/arm64", "linux/s390x", "unknown/unknown")
    with pytest.raises(NotFound, match=r"no image for linux/amd64; there is linux/arm64, linux/s390x$"):
        image.choose(index, platform.parse("linux/amd64"))
    with pytest.raises(NotFound, match="none that names its platform"):
        image.choose(index_of(None, None), platform.parse("linux/amd64"))


def test_entries_that_are_no_images_are_not_chosen() -> None:
    with pytest.raises(NotFound):
        image.choose(index_of("linux/amd64", media_type="application/x"), platform.parse("linux/amd64"))


def test_chain_ids_follow_the_image_spec() -> None:
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    stacked = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    assert image.chain_id([]) == ""
    assert image.chain_id([first]) == first
    assert image.chain_id([first, second]) == stacked
    assert image.chain_id([first, second, first]) != stacked


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_descriptors = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from([image.OCI_LAYER, image.OCI_CONFIG, image.OCI_MANIFEST]) | _json,
        "digest": st.just(DIGEST) | _json,
        "size": st.integers() | _json,
        "urls": _json,
        "platform": st.fixed_dictionaries({}, optional={"os": _json, "architecture": _json}) | _json,
        "data": st.text(max_size=8) | _json,
    },
)
_documents = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.just(2) | _json,
        "mediaType": st.sampled_from([image.OCI_MANIFEST, image.OCI_INDEX, image.DOCKER_LIST]) | _json,
        "config": _descriptors | _json,
        "layers": st.lists(_descriptors, max_size=2) | _json,
        "manifests": st.lists(_descriptors, max_size=2) | _json,
        "annotations": _json,
        "subject": _descriptors | _json,
    },
)


@settings(max_examples=300)
@given(_documents)
def test_any_document_is_read_or_refused_and_nothing_else(document: object) -> None:
    try:
        found = image.parse(encoded(document))
    except (InvalidArgument, Unimplemented):
        return
    described = found.manifests if isinstance(found, Index) else (found.config, *found.layers)
    for descriptor in described:
        assert image.parse_descriptor(descriptor.to_dict()).digest == descriptor.digest


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises((InvalidArgument, Unimplemented)):
        image.parse(data)


def test_a_config_is_read() -> None:
    config = ImageConfig.parse(
        encoded(
            {
                "architecture": "arm",
                "variant": "v7",
                "os": "linux",
                "created": "2024-01-01T00:00:00Z",
                "config": {
                    "Entrypoint": ["/e"],
                    "Cmd": ["a", "b"],
                    "Env": ["A=b"],
                    "User": "1:2",
                    "WorkingDir": "/w",
                    "Labels": {"l": "m"},
                    "ExposedPorts": {"80/tcp": {}},
                    "Volumes": {"/v": {}},
                    "StopSignal": "SIGINT",
                },
                "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
                "history": [{"created_by": "x"}],
            }
        )
    )
    assert (config.entrypoint, config.cmd, config.env) == (("/e",), ("a", "b"), ("A=b",))
    assert (config.user, config.working_dir, config.stop_signal) == ("1:2", "/w", "SIGINT")
    assert (config.exposed_ports, config.volumes, config.labels) == (("80/tcp",), ("/v",), {"l": "m"})
    assert (str(config.platform), config.created) == ("linux/arm/v7", "2024-01-01T00:00:00Z")
    assert config.diff_ids == (DIGEST,)
    assert len(config.history) == 1


def test_an_empty_config_has_no_commands_and_empty_rest() -> None:
    config = ImageConfig.parse(b'{"config": null}')
    assert (config.entrypoint, config.cmd, config.env, config.user) == (None, None, (), "")
    assert (config.diff_ids, config.architecture, config.healthcheck) == ((), "", None)


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "must be an object"),
        ({"config": []}, "config: must be an object"),
        ({"config": {"Env": "A=b"}}, "config.Env: must be an array"),
        ({"config": {"Cmd": [1]}}, "config.Cmd[0]: must be a string"),
        ({"config": {"User": 0}}, "config.User: must be a string"),
        ({"config": {"Labels": {"a": None}}}, "config.Labels['a']"),
        ({"rootfs": {"type": "zip"}}, "rootfs.type"),
        ({"rootfs": {"diff_ids": ["sha256:x"]}}, "rootfs.diff_ids"),
        ({"rootfs": {"diff_ids": [DIGEST] * 501}}, "501 layers"),
        ({"history": [1]}, "history[0]"),
        ({"architecture": 1}, "architecture"),
    ],
)
def test_a_config_of_wrong_types_is_refused(document: object, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ImageConfig.parse(encoded(document))
    assert part in str(caught.value)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "config": st.dictionaries(st.sampled_from(["Env", "Cmd", "User", "Volumes", "Labels"]), _json)
            | _json,
            "rootfs": st.fixed_dictionaries({}, optional={"diff_ids": _json, "type": _json}) | _json,
            "os": _json,
            "history": _json,
        },
    )
)
def test_a_config_that_is_accepted_has_every_property(document: object) -> None:
    try:
        config = ImageConfig.parse(encoded(document))
    except InvalidArgument:
        return
    for name in dir(ImageConfig):
        if isinstance(getattr(ImageConfig, name), property):
            getattr(config, name)
