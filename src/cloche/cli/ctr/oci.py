"""`ctr oci`: documents of the OCI."""

from __future__ import annotations

from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.output import write_bytes
from cloche.errors import Unimplemented


def _spec(invocation: Invocation) -> None:
    from cloche.cli.ctr.specification import default
    from cloche.spec import platform as platforms
    from cloche.spec.document import dumps_indented

    wanted = invocation.text("platform")
    system = platforms.parse(wanted).os if wanted else "linux"
    if system != "linux":
        raise Unimplemented(f"--platform {wanted}: only containers for linux are described here")
    write_bytes(dumps_indented(default(invocation.namespace, "")))


SPEC = CtrCommand(
    "[OPTIONS]",
    _spec,
    groups=(("Options", (("platform", "", "string", "Platform of the containers it is for"),)),),
)
