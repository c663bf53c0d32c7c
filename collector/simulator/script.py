"""Faults on order: a list of rules, each for some calls, each with what becomes of them.

A rule as JSON, all members optional::

    {"path": "full", "symbol": "AAPL", "call": 3, "status": 500, "body": "…",
     "content_type": "text/html", "headers": {"Retry-After": "3"}, "delay_s": 0.5,
     "truncate_to": 100, "close": true}

The first rule that concerns a call decides. Without ``status`` and ``body`` the simulator's own
answer is taken, and delayed, cut short or dropped as the rule says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.simulator.call import JSON, Answer, Call

ANY = "*"


@dataclass(frozen=True)
class Rule:
    """What becomes of the calls whose path ends in ``path`` and that ask for ``symbol``.

    ``*`` stands for any.
    ``call`` names one of them, counted from 1; without it the rule holds for every one.
    ``truncate_to`` cuts the body to so many bytes. ``close`` drops the connection: without
    ``truncate_to`` before anything is sent, with it in the middle of a body whose length was
    announced in full.
    """

    path: str = ANY
    symbol: str = ANY
    call: int | None = None
    status: int | None = None
    body: str | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    truncate_to: int | None = None
    close: bool = False

    def concerns(self, call: Call) -> bool:
        """Whether ``call`` is one of those that the rule counts."""
        path_fits = self.path == ANY or call.path.endswith(self.path)
        return path_fits and self.symbol in {ANY, call.symbol}

    def answer(self) -> Answer | None:
        """The answer that the rule itself gives, if it gives one."""
        if self.status is None and self.body is None:
            return None
        return Answer(
            self.status or 200, (self.body or "").encode(), self.content_type, self.headers
        )


class Script:
    """The rules in force, and how many calls each has seen."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._seen: list[int] = []

    def __call__(self, *rules: Rule) -> None:
        """Put ``rules`` in the place of those in force; none at all ends every fault."""
        self._rules = list(rules)
        self._seen = [0] * len(rules)

    def rule_for(self, call: Call) -> Rule | None:
        """Count ``call``, and give the first rule that holds for it."""
        holding = [rule for index, rule in enumerate(self._rules) if self._holds(index, rule, call)]
        return holding[0] if holding else None

    def _holds(self, index: int, rule: Rule, call: Call) -> bool:
        if not rule.concerns(call):
            return False
        self._seen[index] += 1
        return rule.call is None or rule.call == self._seen[index]
