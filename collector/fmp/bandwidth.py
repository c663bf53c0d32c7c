"""How many bytes the plan still has, as FMP meters a trailing 30 days. Pure."""

from __future__ import annotations


class Bandwidth:
    """``bytes_left`` that answers may have; None is no limit.

    What a call will bring is not known before: as much as the largest answer so far is set aside
    for each call under way, so that the limit is kept and not just noticed.
    """

    def __init__(self, bytes_left: int | None) -> None:
        self._left = bytes_left
        self._largest = 1
        self._under_way = 0

    def has_room(self) -> bool:
        """Whether one more call may be sent."""
        return self._left is None or (self._under_way + 1) * self._largest <= self._left

    def sent(self) -> None:
        """A call is being sent."""
        self._under_way += 1

    def answered(self) -> None:
        """A call has ended, in whatever way."""
        self._under_way -= 1

    def received(self, count: int) -> None:
        """An answer of ``count`` bytes came."""
        self._largest = max(self._largest, count)
        if self._left is not None:
            self._left -= count
