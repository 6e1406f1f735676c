"""`ctr content edit`: a blob that a person changes is a new blob."""

from __future__ import annotations

import os

from cloche.cli.ctr import blobs
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.output import line
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.spec import digest as digests


def _edit(invocation: Invocation) -> None:
    editor = invocation.text("editor") or os.environ.get("EDITOR", "")
    if not editor:
        raise InvalidArgument("no editor: set EDITOR or give --editor")
    if invocation.text("validate"):
        raise InvalidArgument("--validate: nothing is known here to check the result with; leave it out")
    digest = digests.validate(invocation.argument(0))
    line(blobs.store_bytes(invocation.daemon, _edited(editor, blobs.document(invocation.daemon, digest))))


def _edited(editor: str, data: bytes) -> bytes:
    """What the user's editor, a line of shell, makes of bytes."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="edit-", dir=os.environ.get("XDG_RUNTIME_DIR")) as directory:
        path = f"{directory}/blob"
        with open(path, "wb") as file:
            file.write(data)
        code = subprocess.call(["sh", "-c", f'{editor} "$@"', "editor", path])
        if code:
            raise FailedPrecondition(f"the editor ended with exit code {code}: nothing was changed")
        with open(path, "rb") as file:
            return file.read()


_FLAGS = (
    ("editor", "", "string", "Program to edit with, a line of shell ($EDITOR)"),
    ("validate", "", "string", "Format to check the result for"),
)

EDIT = CtrCommand("[OPTIONS] DIGEST", _edit, groups=(("Options", _FLAGS),), minimum=1, maximum=1)
