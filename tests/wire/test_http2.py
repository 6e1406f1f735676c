"""HTTP/2 without sockets: our client and our server, and whatever bytes somebody may send.

What the whole server makes of h2spec's cases is in tests/daemon.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import Unavailable
from cloche.wire import http2_frames as frames
from cloche.wire.http2 import Connection
from cloche.wire.http2_events import Closed, Data, GoneAway, Headers, PingAnswered, Reset, Writable
from cloche.wire.http2_headers import encode
from cloche.wire.http2_limits import BURST, Limits

REQUEST = encode(((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b"te", b"trailers")))
RESPONSE = encode(((b":status", b"200"),))
TRAILERS = encode(((b"grpc-status", b"0"),))


class Pair:
    """A client and a server, each with the events that it has seen."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.client = Connection(client=True, clock=lambda: self.now)
        self.server = Connection(limits=limits, clock=lambda: self.now)
        self.seen: dict[Connection, list[object]] = {self.client: [], self.server: []}
        self.exchange()

    def exchange(self, *, step: int = 1 << 20) -> None:
        """Carry bytes until neither has any, `step` bytes at a time."""
        for _ in range(10_000):
            moved = False
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                data = sender.take()
                for start in range(0, len(data), step):
                    self.seen[receiver] += receiver.receive(data[start : start + step])
                    moved = True
            if not moved:
                return
        raise AssertionError("they never stop")

    def request(self, *, end: bool = False) -> int:
        number = self.client.open()
        self.client.send_headers(number, REQUEST, end=end)
        return number

    def at_server(self, kind: type) -> list[object]:
        return [event for event in self.seen[self.server] if isinstance(event, kind)]

    def at_client(self, kind: type) -> list[object]:
        return [event for event in self.seen[self.client] if isinstance(event, kind)]


def content(events: list[object]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Data))


def server_after(*received: bytes) -> tuple[Connection, list[object]]:
    """A server that has got these frames after a proper beginning, and what came of them."""
    server = Connection()
    events: list[object] = list(server.receive(frames.PREFACE + frames.settings(())))
    server.take()
    for data in received:
        events += server.receive(data)
    return server, events


def goaway_code(server: Connection) -> int:
    data = server.take()
    position = 0
    while position < len(data):
        upper, lowest, kind, _, _ = frames.HEADER.unpack_from(data, position)
        start = position + frames.HEADER_SIZE
        if kind == frames.GOAWAY:
            return int.from_bytes(data[start + 4 : start + 8], "big")
        position = start + (upper << 8 | lowest)
    raise AssertionError("no GOAWAY")


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_request_and_its_answer_however_the_bytes_are_cut(step: int) -> None:
    pair = Pair()
    number = pair.request()
    pair.client.send_data(number, b"question", end=True)
    pair.exchange(step=step)
    assert [type(event) for event in pair.seen[pair.server]] == [Headers, Data]
    pair.server.send_headers(number, RESPONSE)
    pair.server.send_data(number, b"answer")
    pair.server.send_headers(number, TRAILERS, end=True)
    pair.exchange(step=step)
    assert [type(event) for event in pair.seen[pair.client]] == [Headers, Data, Headers]
    assert content(pair.seen[pair.client]) == b"answer"
    assert not pair.client.streams
    assert not pair.server.streams


@given(st.lists(st.binary(max_size=40_000), max_size=8), st.integers(1, 5000))
def test_data_arrives_whole_and_in_order(pieces: list[bytes], step: int) -> None:
    pair = Pair()
    number = pair.request()
    for piece in pieces:
        pair.client.send_data(number, piece)
    pair.client.send_data(number, b"", end=True)
    pair.exchange(step=step)
    assert content(pair.seen[pair.server]) == b"".join(pieces)


def test_more_than_the_window_waits_until_it_is_consumed() -> None:
    pair = Pair(Limits(stream_window=1000))
    number = pair.request()
    pair.client.send_data(number, bytes(2500), end=True)
    pair.exchange()
    assert len(content(pair.seen[pair.server])) == 1000
    assert pair.client.waiting(number) == 1500
    pair.server.consumed(number, 1000)
    pair.exchange()
    pair.server.consumed(number, 1000)
    pair.exchange()
    assert len(content(pair.seen[pair.server])) == 2500
    assert pair.client.waiting(number) == 0


def test_a_stream_that_is_not_read_does_not_hold_up_another() -> None:
    pair = Pair(Limits(stream_window=100_000, connection_window=200_000))
    stuck = [pair.request() for _ in range(10)]
    for number in stuck:
        pair.client.send_data(number, bytes(150_000))
    pair.exchange()
    other = pair.request()
    pair.client.send_data(other, b"me too", end=True)
    pair.exchange()
    assert [event for event in pair.at_server(Data) if isinstance(event, Data) and event.stream == other]


def test_trailers_wait_behind_the_data() -> None:
    pair = Pair()
    number = pair.request(end=True)
    pair.exchange()
    pair.server.send_headers(number, RESPONSE)
    pair.server.send_data(number, bytes(3 << 20))
    pair.server.send_headers(number, TRAILERS, end=True)
    pair.exchange()
    while number in pair.client.streams:
        pair.client.consumed(number, 1 << 18)
        pair.exchange()
    assert isinstance(pair.seen[pair.client][-1], Headers)
    assert len(content(pair.seen[pair.client])) == 3 << 20


def test_the_sender_hears_when_it_may_go_on() -> None:
    pair = Pair(Limits(stream_window=1000))
    number = pair.request()
    pair.client.send_data(number, bytes(1500))
    pair.exchange()
    assert not pair.at_client(Writable)
    pair.server.consumed(number, 1000)
    pair.exchange()
    assert len(pair.at_client(Writable)) == 1


def test_a_server_that_answers_early_stops_the_sender() -> None:
    pair = Pair()
    number = pair.request()
    pair.exchange()
    pair.server.send_headers(number, RESPONSE, end=True)
    pair.client.send_data(number, b"on its way already")
    pair.exchange()
    assert [event.code for event in pair.at_client(Reset) if isinstance(event, Reset)] in (
        [],
        [frames.NO_ERROR],
    )
    assert not pair.server.streams
    assert pair.server.goodbye is None


@pytest.mark.parametrize("end", [True, False], ids=["ending", "endless"])
def test_trailers_that_do_not_end_are_an_error_even_when_all_is_answered(end: bool) -> None:
    pair = Pair()
    number = pair.request()
    pair.exchange()
    pair.server.send_headers(number, RESPONSE, end=True)
    pair.server.take()
    pair.server.receive(frames.headers(number, TRAILERS, 1 << 14, end_stream=end))
    assert pair.server.take() == (b"" if end else frames.rst_stream(number, frames.PROTOCOL_ERROR))
    assert pair.server.goodbye is None


def test_a_reset_reaches_the_other_side() -> None:
    pair = Pair()
    number = pair.request()
    pair.exchange()
    pair.client.reset(number)
    pair.exchange()
    [event] = pair.at_server(Reset)
    assert isinstance(event, Reset)
    assert event.code == frames.CANCEL
    pair.server.send_headers(number, RESPONSE)
    assert pair.server.take() == b""


def test_a_client_opens_no_more_streams_than_the_server_takes() -> None:
    pair = Pair(Limits(streams=2))
    numbers = [pair.request(), pair.request()]
    with pytest.raises(Unavailable):
        pair.client.open()
    pair.client.reset(numbers[0])
    assert pair.client.open() == 5


def test_pings_are_answered() -> None:
    pair = Pair()
    pair.server.ping(b"12345678")
    pair.exchange()
    [event] = pair.at_server(PingAnswered)
    assert isinstance(event, PingAnswered)
    assert event.payload == b"12345678"


def test_a_server_that_stops_finishes_what_it_has() -> None:
    pair = Pair()
    first = pair.request()
    pair.exchange()
    pair.server.stop()
    second = pair.request()
    pair.exchange()
    assert pair.at_client(GoneAway)
    [refused] = pair.at_client(Reset)
    assert isinstance(refused, Reset)
    assert (refused.stream, refused.code) == (second, frames.REFUSED_STREAM)
    pair.client.send_data(first, b"", end=True)
    pair.exchange()
    pair.server.send_headers(first, RESPONSE, end=True)
    pair.exchange()
    assert not pair.client.streams


def test_a_smaller_window_takes_back_what_was_promised() -> None:
    server, _ = server_after(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, REQUEST))
    server.send_headers(1, RESPONSE)
    server.take()
    server.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 1)]))
    server.send_data(1, b"abc")
    assert server.take().endswith(b"a")
    server.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 3)]))
    assert server.take().endswith(b"bc")


@pytest.mark.parametrize(
    ("received", "code"),
    [
        (frames.frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 2, REQUEST), frames.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"), frames.COMPRESSION_ERROR),
        (frames.frame(frames.CONTINUATION, 0, 1, b""), frames.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1, REQUEST) + frames.SETTINGS_ACK, frames.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 0, 1, b""), frames.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, b"1234567"), frames.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 1, b"12345678"), frames.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"12345"), frames.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, b"123456"), frames.FRAME_SIZE_ERROR),
        (frames.settings([(frames.INITIAL_WINDOW_SIZE, 1 << 31)]), frames.FLOW_CONTROL_ERROR),
        (frames.settings([(frames.MAX_FRAME_SIZE, 1)]), frames.PROTOCOL_ERROR),
        (frames.settings([(frames.ENABLE_PUSH, 2)]), frames.PROTOCOL_ERROR),
        (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
        (frames.window_update(0, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
        (frames.window_update(1, 1), frames.PROTOCOL_ERROR),
        (frames.rst_stream(1, 0), frames.PROTOCOL_ERROR),
        (frames.header(16_385, frames.DATA, 0, 1), frames.FRAME_SIZE_ERROR),
        (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
    ],
)
def test_a_broken_rule_of_the_connection_ends_it_with_its_code(received: bytes, code: int) -> None:
    server, events = server_after(received)
    assert isinstance(events[-1], Closed)
    assert events[-1].code == code
    assert goaway_code(server) == code
    assert server.receive(b"anything") == []


OPEN = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, REQUEST)
BAD_HEADS = [
    ((b":method", b"POST"), (b":scheme", b"http")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"")),
    ((b":method", b"POST"), (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"Upper", b"x")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"connection", b"close")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"te", b"gzip")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b"x", b"y"), (b":path", b"/")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":status", b"200")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"content-length", b"-1")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"x", b"a\r\nb: c")),
]


@pytest.mark.parametrize(
    ("received", "code"),
    [
        *((frames.frame(frames.HEADERS, 4, 1, encode(head)), frames.PROTOCOL_ERROR) for head in BAD_HEADS),
        (OPEN + frames.window_update(1, 0), frames.PROTOCOL_ERROR),
        (OPEN + frames.window_update(1, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
        (OPEN + frames.frame(frames.PRIORITY, 0, 1, bytes(4)), frames.FRAME_SIZE_ERROR),
        (OPEN + frames.frame(frames.PRIORITY, 0, 1, b"\0\0\0\1\0"), frames.PROTOCOL_ERROR),
        (OPEN + frames.frame(frames.HEADERS, 4, 1, TRAILERS), frames.PROTOCOL_ERROR),
        (OPEN + frames.frame(frames.DATA, 1, 1) + frames.frame(frames.DATA, 0, 1), frames.STREAM_CLOSED),
    ],
)
def test_a_broken_rule_of_a_stream_ends_that_stream_alone(received: bytes, code: int) -> None:
    server, _ = server_after(received)
    assert frames.rst_stream(1, code) in server.take()
    assert server.goodbye is None
    head = frames.frame(frames.HEADERS, 5, 3, REQUEST)
    assert [type(event) for event in server.receive(head)] == [Headers]


def test_content_that_is_not_as_long_as_it_says_is_refused() -> None:
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b"content-length", b"3"))
    for data in (b"ab", b"abcd"):
        head = frames.frame(frames.HEADERS, 4, 1, encode(fields))
        server, _ = server_after(head + frames.frame(frames.DATA, frames.END_STREAM, 1, data))
        assert frames.rst_stream(1, frames.PROTOCOL_ERROR) in server.take()


def test_padding_and_priorities_are_taken_off() -> None:
    head = frames.frame(frames.HEADERS, 0x4 | 0x8 | 0x20, 1, b"\x03" + bytes(5) + REQUEST + bytes(3))
    _, events = server_after(head, frames.frame(frames.DATA, 0x9, 1, b"\x02dataxx"))
    assert [type(event) for event in events] == [Headers, Data]
    assert content(events) == b"data"


def test_data_beyond_the_window_is_refused() -> None:
    server = Connection(limits=Limits(stream_window=100))
    server.receive(frames.PREFACE + frames.settings(()) + OPEN)
    server.take()
    server.receive(frames.frame(frames.DATA, 0, 1, bytes(101)))
    assert frames.rst_stream(1, frames.FLOW_CONTROL_ERROR) in server.take()


def test_one_who_does_not_begin_properly_is_hung_up_on() -> None:
    for beginning in (b"GET / HTTP/1.1\r\n", frames.PREFACE + frames.frame(frames.PING, 0, 0, bytes(8))):
        server = Connection()
        assert isinstance(server.receive(beginning)[-1], Closed)
        assert goaway_code(server) == frames.PROTOCOL_ERROR


FLOODS = {
    "pings": lambda number: frames.frame(frames.PING, 0, 0, bytes(8)),
    "settings": lambda number: frames.settings(()),
    "priorities": lambda number: frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
    "empty data": lambda number: frames.frame(frames.DATA, 0, 1),
    "unknown": lambda number: frames.frame(0x77, 0, 0),
    "resets": lambda number: (
        frames.frame(frames.HEADERS, 4, 2 * number + 3, REQUEST)
        + frames.rst_stream(2 * number + 3, frames.CANCEL)
    ),
    "bad requests": lambda number: frames.frame(frames.HEADERS, 4, 2 * number + 3, RESPONSE),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_ended(flood: str) -> None:
    """CVE-2023-44487, CVE-2019-9512, 9514, 9515, 9518."""
    server = Connection(clock=lambda: 0.0)
    server.receive(frames.PREFACE + frames.settings(()) + OPEN)
    for number in range(2 * BURST):
        server.receive(FLOODS[flood](number))
        if server.goodbye is not None:
            break
    assert goaway_code(server) == frames.ENHANCE_YOUR_CALM


def test_what_is_no_flood_goes_on_for_ever() -> None:
    now = 0.0
    server = Connection(clock=lambda: now)
    server.receive(frames.PREFACE + frames.settings(()))
    for _ in range(10 * BURST):
        now += 0.002
        server.receive(frames.frame(frames.PING, 0, 0, bytes(8)))
    assert server.goodbye is None


def test_a_header_block_without_an_end_is_ended() -> None:
    """CVE-2024-27316 and its relatives."""
    server, events = server_after(frames.frame(frames.HEADERS, 0, 1, REQUEST))
    for _ in range(10):
        events += server.receive(frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)))
    assert goaway_code(server) == frames.ENHANCE_YOUR_CALM
    server, events = server_after(frames.frame(frames.HEADERS, 0, 1, REQUEST))
    for _ in range(BURST):
        events += server.receive(frames.frame(frames.CONTINUATION, 0, 1))
    assert goaway_code(server) == frames.ENHANCE_YOUR_CALM


def test_a_small_block_that_unfolds_into_a_large_list_is_ended() -> None:
    """The table holds one long value, and each byte of the block names it once more."""
    value = b"\x40\x01x\x7f\xa1\x1e" + bytes([97]) * 4000  # a literal that goes into the table
    block = REQUEST + value + b"\xbe" * 100
    server, _ = server_after(frames.frame(frames.HEADERS, 5, 1, block))
    assert goaway_code(server) == frames.ENHANCE_YOUR_CALM


def test_a_block_in_many_pieces_is_one_block() -> None:
    pieces = [frames.frame(frames.CONTINUATION, 0, 1, REQUEST[i : i + 1]) for i in range(1, len(REQUEST))]
    end = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1)
    _, events = server_after(frames.frame(frames.HEADERS, 1, 1, REQUEST[:1]), *pieces, end)
    assert [type(event) for event in events] == [Headers]


def test_a_long_block_of_ours_is_cut_into_frames() -> None:
    pair = Pair()
    number = pair.request(end=True)
    pair.exchange()
    pair.server.send_headers(number, RESPONSE + encode(((b"x-long", b"y" * 40_000),)), end=True)
    pair.exchange()
    [event] = pair.at_client(Headers)
    assert isinstance(event, Headers)
    assert event.head.fields == [(b"x-long", b"y" * 40_000)]


FRAME = st.builds(
    frames.frame,
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 9, 0xC, 0x20, 0x25, 0xFF]),
    st.sampled_from([0, 1, 2, 3, 5, 1 << 30]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([REQUEST, RESPONSE, TRAILERS, bytes(4), bytes(5), bytes(8), b"\0\0\1\0"]),
    ),
)


@given(st.lists(FRAME, max_size=20), st.integers(1, 300))
def test_no_frames_whatsoever_upset_the_server(received: list[bytes], step: int) -> None:
    """Each ends in events or in a goodbye, never in an exception; and it is all the same in pieces."""
    data = frames.PREFACE + frames.settings(()) + b"".join(received)
    whole, cut = Connection(clock=lambda: 0.0), Connection(clock=lambda: 0.0)
    seen = [type(event) for event in whole.receive(data)]
    pieces = []
    for start in range(0, len(data), step):
        pieces += [type(event) for event in cut.receive(data[start : start + step])]
    assert seen == pieces
    assert whole.take() == cut.take()
    assert (whole.goodbye is None) == (Closed not in seen)


@given(st.lists(FRAME, max_size=20))
def test_no_frames_whatsoever_upset_the_client(received: list[bytes]) -> None:
    client = Connection(client=True)
    client.send_headers(client.open(), REQUEST)
    client.receive(frames.settings(()) + b"".join(received))


@given(st.binary(max_size=2000))
def test_no_bytes_whatsoever_upset_the_server(data: bytes) -> None:
    Connection().receive(data)
    server, _ = server_after(data)
    server.take()
