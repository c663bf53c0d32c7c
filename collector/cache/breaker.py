"""The circuit breaker: a cache that does not answer is left alone for a while. Pure.

Instants are seconds of one monotonic clock, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 2
OPEN_S = 10.0


@dataclass
class Breaker:
    """Closed, until ``failures`` in a row open it for ``open_s``; then one probe decides.

    One is shared by all that write to one Redis. ``disabled`` is a reason that does not heal by
    itself (a wrong password, cluster mode): nothing is tried until `enable`.
    """

    failures: int = FAILURES
    open_s: float = OPEN_S
    disabled: str = ""
    _in_a_row: int = 0
    _probe_at: float = 0.0  # where it is open: when the next try may go

    @property
    def is_open(self) -> bool:
        """Whether the last word of the cache was a failure that opened the breaker."""
        return self._in_a_row >= self.failures

    def allows(self, at: float) -> bool:
        """Tell whether to try now. Where it is open, one caller in ``open_s`` hears yes."""
        if self.disabled:
            return False
        if not self.is_open:
            return True
        if at < self._probe_at:
            return False
        self._probe_at = at + self.open_s
        return True

    def succeeded(self) -> None:
        """Close: the cache answered."""
        self._in_a_row = 0

    def failed(self, at: float) -> None:
        """Count a failure that ended at ``at``."""
        self._in_a_row += 1
        if self.is_open:
            self._probe_at = at + self.open_s

    def disable(self, reason: str) -> None:
        """Try nothing any more: only a person can mend it."""
        self.disabled = reason

    def enable(self) -> None:
        """Take back `disable`, and close."""
        self.disabled = ""
        self.succeeded()
