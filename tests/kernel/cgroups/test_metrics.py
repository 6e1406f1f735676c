from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel.cgroups.metrics import (
    NO_LIMIT,
    BlockIo,
    oom_kills,
    parse_blkio,
    parse_io_stat,
    parse_pairs,
    read_metrics,
)

# A v2 cgroup's files, as a kernel writes them.
V2 = {
    "memory.stat": "anon 4096\nfile 8192\nkernel 512\ninactive_file 100\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\n",
    "memory.current": "12288\n",
    "memory.peak": "20480\n",
    "memory.max": "65536\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "max\n",
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\n"
    "throttled_usec 2\n",
    "pids.current": "7\n",
    "pids.peak": "9\n",
    "pids.max": "max\n",
    "pids.events": "max 1\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.current": "0\n",
}


def test_a_v2_cgroup_is_read_into_the_same_shape(tmp_path: Path) -> None:
    for name, text in V2.items():
        (tmp_path / name).write_text(text)
    metrics = read_metrics({"": str(tmp_path)})
    memory, cpu, pids = metrics.memory, metrics.cpu, metrics.pids
    assert memory is not None
    assert cpu is not None
    assert pids is not None
    assert memory.memory.values() == (12288, 20480, 65536, 5)
    assert (memory.swap.usage, memory.swap.limit) == (16384, NO_LIMIT)
    assert (memory.cache, memory.inactive_file, memory.kernel.usage, memory.oom_kills) == (8192, 100, 512, 2)
    assert cpu.values() == (30000, 20000, 10000, (), 4, 3, 2000)
    assert pids.values() == (7, 9, NO_LIMIT, 1)
    assert metrics.block_io == (
        BlockIo("bytes", 8, 0, "Read", 1),
        BlockIo("bytes", 8, 0, "Write", 2),
        BlockIo("operations", 8, 0, "Read", 3),
        BlockIo("operations", 8, 0, "Write", 4),
        BlockIo("bytes", 8, 0, "Discard", 5),
        BlockIo("operations", 8, 0, "Discard", 6),
    )
    assert set(metrics.huge_pages) == {"2MB"}
    assert metrics.huge_pages["2MB"].usage == 2097152
    assert oom_kills({"": str(tmp_path)}) == 2


def test_swap_is_added_to_memory_as_v1_counts(tmp_path: Path) -> None:
    for name, text in (V2 | {"memory.swap.max": "1024\n"}).items():
        (tmp_path / name).write_text(text)
    memory = read_metrics({"": str(tmp_path)}).memory
    assert memory is not None
    assert memory.swap.limit == 65536 + 1024


def test_v1_block_counters_leave_out_the_sums() -> None:
    text = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n"
    counters = parse_blkio(text, "bytes")
    assert [counter.op for counter in counters] == ["Read", "Write", "Total"]
    assert counters[0] == BlockIo("bytes", 8, 0, "Read", 10)
    assert parse_blkio("Total 0\n", "bytes") == []


@given(st.dictionaries(st.text("abc_", min_size=1), st.integers(0, 2**64)))
def test_pairs_are_read_back(pairs: dict[str, int]) -> None:
    assert parse_pairs("".join(f"{key} {value}\n" for key, value in pairs.items())) == pairs


@given(st.text())
def test_pairs_out_of_anything(text: str) -> None:
    for key, value in parse_pairs(text).items():
        assert key
        assert value >= 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4095),
            st.integers(0, 2**20),
            st.dictionaries(st.sampled_from(["rbytes", "wios", "cost.usage", "x"]), st.integers(0, 2**60)),
        )
    )
)
def test_io_stat_is_read_and_unknown_keys_are_passed_over(
    devices: list[tuple[int, int, dict[str, int]]],
) -> None:
    text = "".join(
        f"{major}:{minor} " + " ".join(f"{key}={value}" for key, value in counters.items()) + "\n"
        for major, minor, counters in devices
    )
    found = parse_io_stat(text)
    assert [counter.value for counter in found] == [
        value for *_, counters in devices for key, value in counters.items() if key in ("rbytes", "wios")
    ]
