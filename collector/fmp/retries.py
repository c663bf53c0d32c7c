"""When a failed call is tried again: soon, seldom in all, and at random instants.

In an outage retries must not become the load that keeps the server down, so their number in a
client's life is bounded by that of its first attempts.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import stamina

from collector.errors import Throttled, Transient

FREE_RETRIES = 20
RETRIES_A_CALL = 0.1
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 8.0


class RetryBudget:
    """At most 20 retries, and one for every ten first attempts. Pure."""

    def __init__(self) -> None:
        self._firsts = 0
        self._spent = 0

    def first(self) -> None:
        """A call is attempted for the first time."""
        self._firsts += 1

    def spend(self) -> bool:
        """Whether one more retry may be had; it then counts as had."""
        if self._spent >= FREE_RETRIES + int(self._firsts * RETRIES_A_CALL):
            return False
        self._spent += 1
        return True


class Retries:
    """The attempts of one call. ``backoff_s`` is the base of the waits between them."""

    def __init__(
        self, budget: RetryBudget, attempts: int, backoff_s: float = FIRST_BACKOFF_S
    ) -> None:
        self._budget = budget
        self._attempts = attempts
        self._backoff_s = backoff_s
        self._number = 0

    def attempts(self) -> AsyncIterator[stamina.Attempt]:
        """The attempts, each to be entered by ``with``, until one does not fail or none is left."""
        self._budget.first()
        context = stamina.retry_context(on=self.wait_s, attempts=self._attempts, timeout=None)
        return aiter(context)

    def begins(self, number: int) -> bool:
        """Attempt ``number``, from 1, begins; whether it is a retry."""
        self._number = number
        return number > 1

    def wait_s(self, error: Exception) -> float | bool:
        """How long to wait after ``error``; False: do not try again.

        Full jitter: anywhere between nothing and a bound that doubles with each attempt. A
        throttled call waits at the gate instead, and its first retry is for nothing: a burst of
        calls is throttled together, and each has to come back.
        """
        if not isinstance(error, (Transient, Throttled)) or self._number >= self._attempts:
            return False
        throttled = isinstance(error, Throttled)
        if not (throttled and self._number == 1) and not self._budget.spend():
            return False
        bound_s = min(LONGEST_BACKOFF_S, self._backoff_s * 2 ** (self._number - 1))
        return 0.0 if throttled else random.uniform(0, bound_s)  # noqa: S311 - no secret
