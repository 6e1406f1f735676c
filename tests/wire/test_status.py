"""The table between errors and codes."""

from __future__ import annotations

import pytest

from cloche import errors
from cloche.wire import status
from cloche.wire.protobuf_values import DecodeError
from cloche.wire.status import StatusError, code_of, error_of, is_foreseen, status_of


def test_every_class_has_a_code_and_comes_back_from_it() -> None:
    classes = set(errors.ClocheError.__subclasses__()) - {StatusError}
    assert {kind for kind in classes if kind.__module__ == "cloche.errors"} == set(status.CODES)
    for kind in status.CODES:
        back = error_of(status_of(kind("why")))
        assert type(back) is kind
        assert str(back) == "why"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StatusError(status.OUT_OF_RANGE, "x"), 11),
        (DecodeError("x"), 3),
        (TimeoutError(), 4),
        (PermissionError(1, "x"), 2),
        (KeyError("x"), 13),
    ],
)
def test_other_errors_have_codes_too(error: Exception, code: int) -> None:
    assert code_of(error) == code


def test_what_nobody_foresaw_is_for_the_log() -> None:
    assert not is_foreseen(KeyError("x"))
    assert is_foreseen(errors.NotFound("x"))
    assert is_foreseen(OSError(2, "x"))
