"""Descriptions made from our tables, read by Protocol Buffers itself."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

from cloche.wire import messages
from cloche.wire.descriptors import Descriptors, split
from cloche.wire.protobuf import Message, boolean, enumeration, mapping, message, repeated, string, uint64
from cloche.wire.protobuf_values import INT64, STRING
from cloche.wire.service import Method, Service


class Inner(Message, package="cloche.test", name="Outer.Inner"):
    """A message inside another."""

    yes: bool = boolean(1)


class Outer(Message, package="cloche.test"):
    """One field of each kind of field."""

    text: str = string(1)
    maybe: int | None = uint64(2, optional=True)
    inner: Inner | None = message(3, Inner)
    many: Any = repeated(4, INT64)
    children: Any = repeated(5)
    by_name: Any = mapping(6, STRING, Inner)
    kind: int = enumeration(7)


SERVICE = Service("cloche.test.Test", Method("Do", Outer, Inner, server_streaming=True))


def pool_of(descriptors: Descriptors) -> Any:
    """A pool of Protocol Buffers' own with all files, each after those that it needs."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        assert name not in above, f"files depend on each other: {above}"
        if name in added:
            return
        added.add(name)
        for needed in descriptors.files[name].dependency:
            add(needed, (*above, name))
        pool.AddSerializedFile(descriptors.files[name].encode())

    for name in descriptors.files:
        add(name)
    return pool


def test_a_message_is_described_field_by_field() -> None:
    from google.protobuf import message_factory

    pool = pool_of(Descriptors([SERVICE]))
    described = pool.FindMessageTypeByName("cloche.test.Outer")
    assert [nested.name for nested in described.nested_types] == ["Inner", "ByNameEntry"]
    theirs = message_factory.GetMessageClass(described)()
    theirs.text, theirs.maybe, theirs.kind = "x", 0, 3
    theirs.inner.yes = True
    theirs.many.extend([1, -2])
    theirs.children.add(text="child")
    theirs.by_name["a"].yes = True
    ours = Outer.decode(theirs.SerializeToString())
    assert (ours.text, ours.maybe, ours.kind, list(ours.many)) == ("x", 0, 3, [1, -2])
    assert ours.inner == Inner(yes=True)
    assert ours.children[0].text == "child"
    assert dict(ours.by_name) == {"a": Inner(yes=True)}
    assert theirs.FromString(ours.encode()) == theirs


def test_a_service_is_described() -> None:
    method = pool_of(Descriptors([SERVICE])).FindServiceByName("cloche.test.Test").methods_by_name["Do"]
    assert (method.input_type.full_name, method.output_type.full_name) == (
        "cloche.test.Outer",
        "cloche.test.Outer.Inner",
    )
    assert (method.client_streaming, method.server_streaming) == (False, True)


def all_services() -> list[Service]:
    found = {}
    for module in pkgutil.iter_modules(messages.__path__, f"{messages.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Service):
                found[value.full_name] = value
    return list(found.values())


def test_every_service_that_we_have_tables_of_can_be_described() -> None:
    services = all_services()
    pool = pool_of(Descriptors(services))
    for service in services:
        assert len(pool.FindServiceByName(service.full_name).methods) == len(service.methods)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.C", ("a.b", ["C"])),
        ("a.b.C.D", ("a.b", ["C", "D"])),
        ("a.b.c", ("a.b", ["c"])),
    ],
)
def test_a_package_ends_before_the_first_name_of_a_message(name: str, expected: Any) -> None:
    assert split(name) == expected
