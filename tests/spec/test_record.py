"""Records: what a frozen dataclass does, without importing one."""

from __future__ import annotations

import pytest

from cloche.spec.record import Record


class Point(Record):
    """Two numbers, one of which has a default."""

    x: int
    y: int = 7


class Named(Point):
    """One field more, behind those of the base."""

    name: str = ""


def test_fields_are_given_by_position_or_by_name() -> None:
    assert Point(1, 2) == Point(x=1, y=2) == Point(1, y=2)
    assert Point(1).y == 7
    assert Named(1, 2, "a").values() == (1, 2, "a")


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 2})]
)
def test_what_does_not_fit_is_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*values, **named)


def test_a_record_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]  # that it is refused is what is tested
    with pytest.raises(AttributeError):
        del point.x
    assert point.replace(x=3) == Point(3)
    assert point == Point(1)


def test_equal_records_hash_alike_and_others_differ() -> None:
    assert hash(Point(1)) == hash(Point(1))
    assert Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert repr(Named(1, name="a")) == "Named(x=1, y=7, name='a')"
