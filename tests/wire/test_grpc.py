"""gRPC's own rules: messages, timeouts, percent encoding, binary headers, the end of a call."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import DataLoss, InvalidArgument, ResourceExhausted
from cloche.wire import grpc
from cloche.wire.grpc_client import Answer, request_block
from cloche.wire.http2_events import Data, Headers, Reset
from cloche.wire.http2_frames import CANCEL, REFUSED_STREAM
from cloche.wire.http2_headers import Head, Reader
from cloche.wire.messages.google import Any
from cloche.wire.status import (
    ABORTED,
    CANCELLED,
    INTERNAL,
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    UNIMPLEMENTED,
    StatusError,
    error_of,
)
from cloche.wire.ttrpc import Status


@given(st.lists(st.binary(max_size=300), max_size=10), st.integers(1, 50))
def test_messages_come_out_as_they_went_in(messages: list[bytes], step: int) -> None:
    data = b"".join(map(grpc.frame, messages))
    reader = grpc.MessageReader()
    found = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    reader.finish()
    assert found == messages


@given(st.lists(st.binary(max_size=60), max_size=10), st.sampled_from(["", "gzip"]))
def test_no_data_whatsoever_is_worse_than_refused(pieces: list[bytes], encoding: str) -> None:
    reader = grpc.MessageReader(encoding, limit=100)
    try:
        for piece in pieces:
            assert all(len(message) <= 100 for message in reader.feed(piece))
        reader.finish()
    except (ResourceExhausted, StatusError, DataLoss, InvalidArgument):
        return


def test_a_compressed_message_is_expanded_up_to_the_limit() -> None:
    def framed(data: bytes) -> bytes:
        return b"\1" + len(data).to_bytes(4, "big") + data

    packed = gzip.compress(bytes(1000))
    assert grpc.MessageReader("gzip", limit=1000).feed(framed(packed)) == [bytes(1000)]
    with pytest.raises(ResourceExhausted):
        grpc.MessageReader("gzip", limit=999).feed(framed(packed))
    with pytest.raises(DataLoss):
        grpc.MessageReader("gzip").feed(framed(packed[:-9]))
    with pytest.raises(StatusError):
        grpc.MessageReader().feed(framed(packed))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1S", 1), ("2M", 120), ("1H", 3600), ("5m", 0.005), ("99999999u", 99.999999), ("3n", 3e-9)],
)
def test_a_timeout_is_read(text: str, seconds: float) -> None:
    assert grpc.read_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "S", "-1S", "1.5S", "123456789S", "1s", "\uff11S", " 1S"])
def test_a_timeout_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        grpc.read_timeout(text)


@given(st.floats(1e-8, 1e8))
def test_a_timeout_that_we_write_is_about_what_was_meant(seconds: float) -> None:
    written = grpc.write_timeout(seconds)
    assert len(written) <= 9
    assert grpc.read_timeout(written.decode()) == pytest.approx(seconds, rel=0.2, abs=2e-9)


@given(st.text(max_size=600))
def test_an_error_text_survives_its_encoding(text: str) -> None:
    escaped = grpc.escape(text)
    assert all(0x20 <= byte < 0x7F for byte in escaped)
    assert grpc.unescape(escaped) == text.encode("utf-8", "replace").decode()


def test_a_long_text_is_cut_between_characters() -> None:
    escaped = grpc.escape("ä" * 5000)
    assert len(escaped) <= grpc.TEXT_LIMIT
    assert set(grpc.unescape(escaped)) == {"ä"}


@given(st.binary(max_size=60))
def test_whatever_claims_to_be_percent_encoded_can_be_read(value: bytes) -> None:
    grpc.unescape(value)


@given(st.binary(max_size=100))
def test_binary_headers_survive_with_and_without_padding(value: bytes) -> None:
    text = grpc.encode_binary(value)
    assert "=" not in text
    assert grpc.decode_binary(text) == value
    assert grpc.decode_binary(text + "=" * (-len(text) % 4)) == value


def test_a_binary_header_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        grpc.decode_binary("!")


def read(block: bytes) -> Head:
    return Reader().read(block)


def test_a_request_is_what_the_client_wrote() -> None:
    head = read(request_block("/a.b.C/Do", {"containerd-namespace": ["x"], "k": ["1", "2"]}, 1.5))
    assert head.request_fault() == ""
    request = grpc.request_of(head)
    assert (request.service, request.method, request.http_status) == ("a.b.C", "Do", 200)
    assert request.timeout_s == pytest.approx(1.5)
    assert request.metadata["containerd-namespace"] == ["x"]
    assert request.metadata["k"] == ["1", "2"]
    assert grpc.request_of(head) is request


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ((b"content-type", b"application/grpc"), 200),
        ((b"content-type", b"application/grpc+proto; charset=x"), 200),
        ((b"content-type", b"application/grpc+json"), 415),
        ((b"content-type", b"application/grpcx"), 415),
        ((b"x", b"y"), 415),
    ],
)
def test_only_grpc_with_protobuf_is_spoken(field: tuple[bytes, bytes], status: int) -> None:
    head = Head([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/B"), field])
    assert grpc.request_of(head).http_status == status


def ended(*blocks: bytes) -> Answer:
    answer = Answer()
    reader = Reader()
    for position, block in enumerate(blocks):
        answer.take(Headers(1, reader.read(block), position == len(blocks) - 1))
    return answer


def test_the_end_of_a_call_is_read_with_its_details() -> None:
    said = Status(code=ABORTED, message="ä %", details=[Any(type_url="t", value=b"v")])
    for answer in (
        ended(grpc.HEAD, grpc.trailers_block(said, {"x": ["y"]})),
        ended(grpc.trailers_only_block(said, {"x": ["y"]})),
    ):
        assert answer.status == said
        assert answer.trailers["x"] == ["y"]
        error = answer.error()
        assert isinstance(error, StatusError)
        assert (error.code, str(error), list(error.details)) == (ABORTED, "ä %", said.details)


def test_an_answer_is_its_messages_and_its_end() -> None:
    answer = Answer()
    answer.take(Headers(1, read(grpc.head_block({"a": ["b"]})), False))
    answer.take(Data(1, grpc.frame(b"one") + grpc.frame(b"two")[:3], False))
    answer.take(Data(1, grpc.frame(b"two")[3:], False))
    answer.take(Headers(1, read(grpc.OK_TRAILERS), True))
    assert answer.messages == [b"one", b"two"]
    assert answer.metadata == {"a": ["b"]}
    assert answer.status is not None
    assert answer.status.code == OK
    assert answer.error() is None


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Reset(1, CANCEL, ""), CANCELLED),
        (Reset(1, REFUSED_STREAM, ""), UNAVAILABLE),
        (Reset(1, 2, ""), INTERNAL),
        (Data(1, b"x", False), INTERNAL),
        (Headers(1, Head([(b":status", b"404")]), True), UNIMPLEMENTED),
        (Headers(1, Head([(b":status", b"503"), (b"content-type", b"text/html")]), False), UNAVAILABLE),
    ],
)
def test_an_answer_that_is_none_has_a_code_all_the_same(event: Headers | Data | Reset, code: int) -> None:
    answer = Answer()
    answer.take(event)
    assert answer.status is not None
    assert answer.status.code == code


def test_a_call_that_ends_inside_a_message_or_without_a_status_has_failed() -> None:
    for last in (grpc.OK_TRAILERS, b""):
        answer = Answer()
        answer.take(Headers(1, read(grpc.HEAD), False))
        answer.take(Data(1, b"\0\0\0\0\x09half" if last else b"", False))
        answer.take(Headers(1, read(last), True))
        assert answer.status is not None
        assert answer.status.code == INTERNAL


def test_codes_and_classes_are_each_others_inverse() -> None:
    error = error_of(Status(code=NOT_FOUND, message="x"))
    assert type(error).__name__ == "NotFound"
    unknown = error_of(Status(code=ABORTED, message="y"))
    assert isinstance(unknown, StatusError)


@given(st.integers(0, 1000), st.integers(1, 200), st.lists(st.integers(0, 300), max_size=30))
def test_what_is_given_back_is_what_came(first: int, size: int, pieces: list[int]) -> None:
    credit = grpc.Credit()
    given_back = credit.came(first, waiting=False)
    for piece in pieces:
        given_back += credit.came(piece, waiting=True)
        given_back += credit.took(size, waiting=True)
    given_back += credit.took(size, waiting=False)
    assert given_back == first + sum(pieces)
