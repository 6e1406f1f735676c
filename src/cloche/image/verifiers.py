"""Programs of the user's that say whether an image may be pulled.

Each in a directory is executed, in the order of their names, with the name and the digest that it has been
resolved to, and its descriptor on the standard input. All must end with 0; what one writes to its standard
output is the reason. Nothing but the image's first document has been fetched by then.
"""

from __future__ import annotations

import logging
import os
import subprocess

from cloche.errors import PermissionDenied, Unavailable
from cloche.spec.document import dumps
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.image import Descriptor

_log = logging.getLogger("cloche.verifiers")

_MEDIA_TYPE = "application/vnd.oci.descriptor.v1+json"
_REASON_BYTES = 16 << 10


class Verifiers(Record):
    """directory: where they are; none of them where there is no such directory.

    most: how many are executed; the others are passed over, with a warning. Negative for any number.
    timeout_s: how long each may take.
    """

    directory: str
    most: int = 10
    timeout_s: float = 10.0

    def check(self, name: str, target: Descriptor) -> None:
        """Raises PermissionDenied where one rejects the image, Unavailable where one cannot be asked."""
        try:
            programs = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(f"image verifiers {self.directory}: {error.strerror}") from None
        if 0 <= self.most < len(programs):
            _log.warning("%s has %d image verifiers: %d are asked", self.directory, len(programs), self.most)
            programs = programs[: self.most]
        for program in programs:
            self._ask(program, name, target)

    def _ask(self, program: str, name: str, target: Descriptor) -> None:
        words = [f"{self.directory}/{program}", "-name", name, "-digest", target.digest]
        try:
            done = subprocess.run(
                [*words, "-stdin-media-type", _MEDIA_TYPE],
                input=dumps(target.to_dict()),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"{name}: image verifier {program} said nothing in {self.timeout_s:g} s: it may not be pulled"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"{name}: image verifier {program} cannot be executed: {error.strerror}: it may not be pulled"
            ) from None
        if done.returncode:
            reason = done.stdout[:_REASON_BYTES].decode(errors="replace").strip()
            raise PermissionDenied(
                f"{name}: image verifier {program} rejects it (exit code {done.returncode}): {reason}"
            )
