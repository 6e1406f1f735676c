"""What a check finds wrong, and what can be done about it."""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Finding(Record):
    """Something that is not as it should be.

    kind: blob, ingest, snapshot, image, container, resolution, lease, network or database; subject: which
    one; problem: what is wrong with it. remedy: what a repair does about it, or, where `by_hand`,
    what the user has to do. repaired: whether that was done.
    """

    kind: str
    subject: str
    problem: str
    remedy: str
    by_hand: bool = False
    repaired: bool = False


class Fault:
    """A finding with the function that mends it, which is None where only the user can.

    The function returns False where nothing was to be done any more, or something is in use now.
    """

    def __init__(
        self, kind: str, subject: str, problem: str, remedy: str, mend: Callable[[], bool] | None = None
    ) -> None:
        self.finding = Finding(kind, subject, problem, remedy, by_hand=mend is None)
        self._mend = mend

    def repair(self) -> Finding:
        """Mend it, if that can be done; the finding as it is now."""
        if self._mend is None:
            return self.finding
        return self.finding.replace(repaired=self._mend())
