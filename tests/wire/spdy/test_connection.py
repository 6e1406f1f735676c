"""SPDY without sockets: our client and our server, and whatever bytes somebody may send.

What client-go makes of the server is in tests/cri_streaming.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.http2_events import Closed, Data, Reset, Writable
from cloche.wire.spdy import frames
from cloche.wire.spdy.connection import Connection, Limits
from cloche.wire.spdy.events import GoneAway, Opened, Pinged, Replied
from cloche.wire.spdy.headers import DICTIONARY, LIMIT, Compressor

HEADERS = {"streamtype": "data", "port": "80"}


class Pair:
    """A client and a server, each with the events that it has seen."""

    def __init__(self, limits: Limits | None = None, client_limits: Limits | None = None) -> None:
        self.client = Connection(client=True, limits=client_limits, clock=lambda: 0.0)
        self.server = Connection(limits=limits, clock=lambda: 0.0)
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

    def stream(self) -> int:
        """A stream that the server has taken."""
        number = self.client.open(HEADERS)
        self.exchange()
        self.server.reply(number)
        self.exchange()
        return number

    def at_server(self, kind: type) -> list[object]:
        return [event for event in self.seen[self.server] if isinstance(event, kind)]

    def at_client(self, kind: type) -> list[object]:
        return [event for event in self.seen[self.client] if isinstance(event, kind)]


def content(events: Sequence[object], stream: int | None = None) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, Data) and stream in (None, e.stream))


def server_after(*received: bytes) -> tuple[Connection, list[object]]:
    server = Connection(clock=lambda: 0.0)
    return server, list(server.receive(b"".join(received)))


def broken(*received: bytes) -> str:
    """Why the server ends a connection on which this came."""
    server, events = server_after(*received)
    assert isinstance(events[-1], Closed)
    assert server.take().endswith(frames.goaway(server._last_stream, frames.GOAWAY_PROTOCOL_ERROR))
    assert server.receive(b"more") == []
    return str(server.goodbye)


def opening(number: int, compressor: Compressor | None = None) -> bytes:
    return frames.syn_stream(number, (compressor or Compressor()).encode(HEADERS), fin=False)


def test_the_dictionary_is_the_one_that_zlib_will_ask_for() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_a_stream_is_opened_answered_used_and_ended() -> None:
    pair = Pair()
    number = pair.stream()
    opened, replied = pair.at_server(Opened)[0], pair.at_client(Replied)[0]
    assert isinstance(opened, Opened)
    assert isinstance(replied, Replied)
    assert (opened.stream, opened.headers, opened.end) == (number, HEADERS, False)
    assert (replied.stream, replied.headers, replied.end) == (number, {}, False)
    pair.client.send_data(number, b"question", end=True)
    pair.server.send_data(number, b"answer")
    pair.server.send_data(number, b"", end=True)
    pair.exchange()
    assert content(pair.seen[pair.server]) == b"question"
    assert content(pair.seen[pair.client]) == b"answer"
    assert not pair.client.streams
    assert not pair.server.streams


@given(st.lists(st.dictionaries(st.text("abcz-", min_size=1), st.text("abc \0\xff")), max_size=5))
def test_headers_arrive_as_they_were_sent(blocks: list[dict[str, str]]) -> None:
    pair = Pair()
    for headers in blocks:
        pair.client.open(headers)
    pair.exchange()
    assert [event.headers for event in pair.at_server(Opened) if isinstance(event, Opened)] == blocks


@given(st.lists(st.binary(max_size=100_000), max_size=6), st.integers(1, 5000), st.booleans())
def test_data_arrives_whole_and_in_order(pieces: list[bytes], step: int, windows: bool) -> None:
    pair = Pair(Limits(window=50_000 if windows else 0))
    number = pair.stream()
    for piece in pieces:
        pair.client.send_data(number, piece)
    pair.client.send_data(number, b"", end=True)
    for _ in range(40):
        before = len(pair.seen[pair.server])
        pair.exchange(step=step)
        for event in pair.seen[pair.server][before:]:
            if isinstance(event, Data):
                pair.server.consumed(number, len(event.data))
    assert content(pair.seen[pair.server]) == b"".join(pieces)
    assert pair.server.goodbye is None


def test_a_peer_that_shows_no_windows_is_sent_everything() -> None:
    pair = Pair()
    number = pair.stream()
    pair.server.send_data(number, bytes(1 << 20))
    assert pair.server.waiting(number) == 0
    assert len(pair.server.take()) > 1 << 20


def test_a_peer_that_announces_a_window_is_kept_to_it() -> None:
    pair = Pair(client_limits=Limits(window=1000))
    number = pair.stream()
    pair.server.send_data(number, bytes(2500), end=True)
    pair.exchange()
    assert len(content(pair.seen[pair.client])) == 1000
    assert pair.server.waiting(number) == 1500
    pair.client.consumed(number, 1000)
    pair.exchange()
    assert not pair.at_server(Writable)
    pair.client.consumed(number, 1000)
    pair.exchange()
    assert len(content(pair.seen[pair.client])) == 2500
    assert pair.at_server(Writable)


def test_the_window_of_the_connection_is_given_back_at_once() -> None:
    """A stream that nobody reads from does not hold up the others."""
    pair = Pair(Limits(window=1 << 20), Limits(window=1 << 20))
    slow, quick = pair.stream(), pair.stream()
    pair.client.send_data(slow, bytes(1 << 20))
    pair.client.send_data(quick, b"here")
    pair.exchange()
    assert content(pair.seen[pair.server], quick) == b"here"


def test_more_than_our_window_ends_the_stream() -> None:
    server = Connection(limits=Limits(window=10))
    server.take()
    server.receive(opening(1))
    events = server.receive(frames.data_header(1, 11, fin=False) + bytes(11))
    assert isinstance(events[0], Reset)
    assert server.take().endswith(frames.rst_stream(1, frames.FLOW_CONTROL_ERROR))


def test_a_reset_is_told_and_what_comes_after_it_is_ignored() -> None:
    pair = Pair()
    number = pair.stream()
    pair.server.reset(number)
    pair.client.send_data(number, b"too late")
    pair.exchange()
    assert [event.code for event in pair.at_client(Reset) if isinstance(event, Reset)] == [frames.CANCEL]
    assert not pair.at_server(Data)
    assert pair.server.goodbye is None


def test_streams_above_the_limit_are_refused() -> None:
    pair = Pair(Limits(streams=2))
    for _ in range(3):
        pair.stream()
    resets = [event for event in pair.at_client(Reset) if isinstance(event, Reset)]
    assert [(event.stream, event.code) for event in resets] == [(5, frames.REFUSED_STREAM)]


def test_a_ping_is_answered_with_its_number() -> None:
    pair = Pair()
    numbers = [pair.client.ping(), pair.server.ping(), pair.client.ping()]
    pair.exchange()
    assert numbers == [1, 2, 3]
    assert [e.number for e in pair.at_client(Pinged) if isinstance(e, Pinged)] == [1, 3]
    assert [e.number for e in pair.at_server(Pinged) if isinstance(e, Pinged)] == [2]


def test_goodbyes_are_told() -> None:
    pair = Pair()
    number = pair.stream()
    pair.server.stop()
    pair.exchange()
    refused = pair.client.open(HEADERS)
    pair.exchange()
    gone = pair.at_client(GoneAway)[0]
    assert isinstance(gone, GoneAway)
    assert (gone.last, gone.code) == (number, frames.GOAWAY_OK)
    assert [e.stream for e in pair.at_client(Reset) if isinstance(e, Reset)] == [refused]
    pair.server.close()
    assert pair.server.goodbye == ""


def test_headers_after_the_reply_may_end_a_stream() -> None:
    compressor = Compressor()
    block = compressor.encode(HEADERS)
    more = frames.with_headers(frames.HEADERS, 1, compressor.encode({"x": "y"}), fin=True)
    _, events = server_after(frames.syn_stream(1, block, fin=False), more)
    assert isinstance(events[1], Data)
    assert events[1].end


def test_what_nobody_knows_is_ignored() -> None:
    server, events = server_after(frames.control(77, 0, b"?"), frames.settings([(4, 100)]), opening(1))
    assert [type(event) for event in events] == [Opened]
    assert server.goodbye is None


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "never open"),
        (b"\x80\x02\x00\x01\x00\x00\x00\x00", "another version"),
        (frames.control(frames.PING, 0, bytes(5)), "5 bytes"),
        (frames.control(frames.SYN_STREAM, 0, bytes(9)), "9 bytes"),
        (frames.control(frames.SETTINGS, 0, b"\0\0\0\2" + bytes(8)), "SETTINGS"),
        (frames.settings([(frames.INITIAL_WINDOW_SIZE, 1 << 31)]), "initial window"),
        (frames.window_update(0, 0), "window"),
        (frames.syn_stream(1, b"not compressed", fin=False), "not compressed"),
        (opening(2), "may not open"),
        (opening(0), "may not open"),
        (frames.HEADER.pack(frames.CONTROL | 3 << 16 | 1, LIMIT + 1), "control frame of"),
        (frames.data_header(0, 1, fin=False) + b"x", "data on stream 0"),
    ],
)
def test_a_broken_rule_ends_the_connection(received: bytes, reason: str) -> None:
    assert reason in broken(received)


def test_streams_are_opened_in_order() -> None:
    compressor = Compressor()
    assert "after 3" in broken(opening(3, compressor), opening(1, compressor))


@pytest.mark.parametrize(
    "block", [b"", b"\0\0\0\1", b"\0\0\0\1\0\0\0\1A\0\0\0\0", b"\0\0\0\0more", b"\xff" * 12]
)
def test_headers_that_make_no_sense_end_the_connection(block: bytes) -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    packed = packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert "header" in broken(frames.syn_stream(1, packed, fin=False))


def test_headers_that_expand_without_end_are_stopped() -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    packed = packer.compress(bytes(20 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) < LIMIT
    assert "more than" in broken(frames.syn_stream(1, packed, fin=False))


def test_work_without_a_purpose_has_a_budget() -> None:
    assert "asks for nothing" in broken(frames.ping(1) * 5000)


def test_a_frame_of_16_mib_is_not_held() -> None:
    server = Connection()
    server.receive(opening(1))
    server.receive(frames.data_header(1, frames.LARGEST_PAYLOAD, fin=True))
    total = 0
    while total < frames.LARGEST_PAYLOAD:
        size = min(100_000, frames.LARGEST_PAYLOAD - total)
        (event,) = server.receive(bytes(size))
        assert isinstance(event, Data)
        total += len(event.data)
        assert event.end == (total == frames.LARGEST_PAYLOAD)
        assert not server._held


FRAME = st.one_of(
    st.builds(
        frames.control,
        st.integers(0, 12),
        st.integers(0, 3),
        st.binary(max_size=30) | st.just(b"\0\0\0\1" * 2),
    ),
    st.builds(
        lambda n, d, f: frames.data_header(n, len(d), fin=f) + d,
        st.integers(0, 5),
        st.binary(),
        st.booleans(),
    ),
    st.builds(frames.rst_stream, st.integers(0, 5), st.integers(0, 12)),
    st.builds(frames.window_update, st.integers(0, 5), st.integers(0, (1 << 32) - 1)),
    st.builds(
        lambda kind, n, fin: frames.with_headers(kind, n, Compressor().encode(HEADERS), fin=fin),
        st.sampled_from((frames.SYN_REPLY, frames.HEADERS)),
        st.integers(0, 5),
        st.booleans(),
    ),
    st.builds(opening, st.integers(0, 5)),
    st.builds(
        frames.settings, st.lists(st.tuples(st.integers(0, 9), st.integers(0, (1 << 32) - 1)), max_size=3)
    ),
)


def merged(events: Sequence[object]) -> list[object]:
    """Kinds of events, and the data of each stream in one piece."""
    kinds = [type(event) for event in events if not isinstance(event, Data)]
    ends = [event.stream for event in events if isinstance(event, Data) and event.end]
    return [*kinds, *ends, *(content(events, number) for number in range(6))]


@given(st.lists(FRAME, max_size=20), st.integers(1, 300), st.booleans())
def test_no_frames_whatsoever_upset_us(received: list[bytes], step: int, client: bool) -> None:
    """Each ends in events or in a goodbye, never in an exception; and it is all the same in pieces."""
    data = b"".join(received)
    whole, cut = (Connection(client=client, clock=lambda: 0.0) for _ in range(2))
    for connection in (whole, cut):
        if client:
            connection.open(HEADERS)
    seen = whole.receive(data)
    pieces: list[object] = []
    for start in range(0, len(data), step):
        pieces += cut.receive(data[start : start + step])
    assert merged(seen) == merged(pieces)
    assert whole.goodbye == cut.goodbye
    assert len(cut._held) <= LIMIT + frames.HEADER.size


@given(st.binary(max_size=2000))
def test_no_bytes_whatsoever_upset_us(data: bytes) -> None:
    server, _ = server_after(data)
    server.take()
