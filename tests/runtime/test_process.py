"""Settings of the first process that programs find out about themselves."""

from __future__ import annotations

from tests.bundles import Bundle
from tests.runtime.containers import Runtime


def test_the_umask_and_the_oom_score_are_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"]["umask"] = 0o027
    bundle.process["oomScoreAdj"] = 321
    assert runtime.output(bundle, "umask; cat /proc/self/oom_score_adj").split() == ["0027", "321"]


def test_the_host_and_the_domain_have_their_names(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config |= {"hostname": "bell", "domainname": "jar.example"}
    text = runtime.output(bundle, "hostname; cat /proc/sys/kernel/domainname")
    assert text.split() == ["bell", "jar.example"]
