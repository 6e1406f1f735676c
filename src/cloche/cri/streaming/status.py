"""What the error channel says at the end: a Status of Kubernetes in JSON since v4, before that plain text."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Status:
    """How a session ended. document: the Status. text: what older clients are told; "" for success."""

    def __init__(self, document: dict[str, Any], text: str = "") -> None:
        self.document = document
        self.text = text

    def encoded(self, version: int) -> bytes:
        """As clients of a version of the protocol read it; none where they are told nothing."""
        if version >= 4:
            return json.dumps(self.document, separators=(",", ":")).encode()
        return self.text.encode()


SUCCESS = Status({"metadata": {}, "status": "Success"})


def exited(command: Sequence[str], code: int) -> Status:
    """A program has ended with a code."""
    if code == 0:
        return SUCCESS
    words = " ".join(command)
    text = f"command terminated with non-zero exit code: error executing command [{words}], exit code {code}"
    return Status(
        {
            "metadata": {},
            "status": "Failure",
            "message": text,
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        },
        text,
    )


def failed(what: str, error: Exception) -> Status:
    """It could not be done. what: such as "error executing command in container"."""
    text = f"Internal error occurred: {what}: {error}"
    document = {"metadata": {}, "status": "Failure", "message": text, "reason": "InternalError", "code": 500}
    return Status(document, text)
