from __future__ import annotations

import subprocess
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import capabilities


def test_names_have_the_kernels_numbers() -> None:
    assert capabilities.BITS["CAP_CHOWN"] == 0
    assert capabilities.BITS["CAP_SYS_ADMIN"] == 21
    assert capabilities.BITS["CAP_CHECKPOINT_RESTORE"] == 40


def test_capsh_names_the_same_bits(peer: Callable[[str], str]) -> None:
    decoded = subprocess.run(
        [peer("capsh"), f"--decode={capabilities.supported():x}"], check=True, capture_output=True, text=True
    ).stdout
    ours = ",".join(capabilities.names(capabilities.supported())).lower()
    assert decoded.strip().endswith("=" + ours)


def test_unknown_names_are_given_back_in_order() -> None:
    assert capabilities.mask(["CAP_B", "CAP_KILL", "cap_kill", "CAP_A"]) == (
        1 << 5,
        ["CAP_B", "cap_kill", "CAP_A"],
    )


@given(st.sets(st.sampled_from(capabilities.NAMES)))
def test_names_become_bits_and_names_again(names: set[str]) -> None:
    bits, unknown = capabilities.mask(names)
    assert unknown == []
    assert set(capabilities.names(bits)) == names


def test_this_process_holds_no_more_than_the_kernel_knows() -> None:
    assert capabilities.current("CapBnd") & ~capabilities.supported() == 0
    assert capabilities.last_cap() >= 40
