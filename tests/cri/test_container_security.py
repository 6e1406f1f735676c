"""Profiles of AppArmor; what they do is seen in a guest (tests/vm/confined.py)."""

from __future__ import annotations

import pytest

from cloche.cri.container_security import apparmor
from cloche.cri.settings import Settings
from cloche.engine.apparmor import is_enabled
from cloche.errors import InvalidArgument
from cloche.wire.messages.cri.containers import LinuxContainerSecurityContext
from cloche.wire.messages.cri.values import LOCALHOST, RUNTIME_DEFAULT, UNCONFINED, SecurityProfile

SETTINGS = Settings("/nowhere", "/nowhere", {})


@pytest.mark.skipif(is_enabled(), reason="this machine has AppArmor")
def test_where_there_is_no_apparmor_who_asks_for_a_profile_is_told() -> None:
    for context in (
        LinuxContainerSecurityContext(apparmor_profile="localhost/x"),
        LinuxContainerSecurityContext(apparmor_profile="runtime/default"),
        LinuxContainerSecurityContext(apparmor=SecurityProfile(profile_type=LOCALHOST, localhost_ref="x")),
        LinuxContainerSecurityContext(apparmor=SecurityProfile(profile_type=RUNTIME_DEFAULT)),
    ):
        with pytest.raises(InvalidArgument, match="this machine has no AppArmor"):
            apparmor(context, SETTINGS)
    assert apparmor(LinuxContainerSecurityContext(), SETTINGS) == ""
    unconfined = SecurityProfile(profile_type=UNCONFINED)
    assert apparmor(LinuxContainerSecurityContext(apparmor=unconfined), SETTINGS) == ""


def test_a_profile_in_other_words_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="apparmor profile 'some/thing'"):
        apparmor(LinuxContainerSecurityContext(apparmor_profile="some/thing"), SETTINGS)
