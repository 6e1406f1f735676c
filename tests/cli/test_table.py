"""Lists in docker's layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import table
from cloche.errors import InvalidArgument

HEADERS = {"ID": "CONTAINER ID", "Image": "IMAGE", "Names": "NAMES"}
ROWS = [
    {"ID": "0123456789ab", "Image": "busybox", "Names": "one"},
    {"ID": "ba9876543210", "Image": "registry.example/long", "Names": "two"},
]


def rendered(form: str | None, rows: list[dict[str, str]] | None = None) -> str:
    return table.rendered(ROWS if rows is None else rows, HEADERS, ("ID", "Image", "Names"), form=form)


@pytest.mark.parametrize("form", [None, "", "table"])
def test_columns_are_three_apart(form: str | None) -> None:
    assert rendered(form) == (
        "CONTAINER ID   IMAGE                   NAMES\n"
        "0123456789ab   busybox                 one\n"
        "ba9876543210   registry.example/long   two\n"
    )


def test_columns_are_at_least_ten_wide() -> None:
    assert rendered(None, []) == "CONTAINER ID   IMAGE     NAMES\n"


def test_a_template_makes_one_line_of_each_row() -> None:
    assert rendered("{{.ID}} {{.Names}}") == "0123456789ab one\nba9876543210 two\n"


def test_a_table_template_has_the_headers_of_its_fields() -> None:
    assert rendered("table {{.Names}}\\t{{.ID}}") == (
        "NAMES     CONTAINER ID\none       0123456789ab\ntwo       ba9876543210\n"
    )


def test_json_is_one_object_a_line_in_the_order_of_names() -> None:
    assert rendered("json", ROWS[:1]) == '{"ID":"0123456789ab","Image":"busybox","Names":"one"}\n'


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Bogus"):
        rendered("{{.Bogus}}")


@given(st.lists(st.lists(st.text(max_size=20), min_size=3, max_size=3), max_size=4))
def test_no_cell_can_break_a_line_or_reach_the_terminal(cells: list[list[str]]) -> None:
    rows = [dict(zip(HEADERS, each, strict=True)) for each in cells]
    lines = rendered(None, rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert all(line.isprintable() for line in lines)
