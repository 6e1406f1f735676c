"""Configurations of pods and containers, as people write them in files."""

from __future__ import annotations

import uuid

from cloche.cli.crictl import json_form
from cloche.errors import InvalidArgument, NotFound
from cloche.spec import yaml_document
from cloche.wire.messages.cri.containers import ContainerConfig
from cloche.wire.messages.cri.pod_config import PodSandboxConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from cloche.wire.protobuf import Message

    _M = TypeVar("_M", bound=Message)


def pod(path: str) -> PodSandboxConfig:
    """A pod's. Raises InvalidArgument with the place, NotFound."""
    config = _read(PodSandboxConfig, path)
    metadata = config.metadata
    if metadata is None or not metadata.name or not metadata.namespace:
        raise InvalidArgument(f"{path}: metadata: name and namespace must be set")
    if not metadata.uid:
        metadata.uid = str(uuid.uuid4())
    return config


def container(path: str) -> ContainerConfig:
    """A container's. Raises InvalidArgument with the place, NotFound."""
    config = _read(ContainerConfig, path)
    if config.metadata is None or not config.metadata.name:
        raise InvalidArgument(f"{path}: metadata: name must be set")
    if config.image is None or not config.image.image:
        raise InvalidArgument(f"{path}: image: image must be set")
    if not config.image.user_specified_image:
        config.image.user_specified_image = config.image.image
    return config


def _read(kind: type[_M], path: str) -> _M:
    try:
        return json_form.read(kind, yaml_document.load(path), path)
    except FileNotFoundError:
        raise NotFound(f"no configuration at {path}") from None
