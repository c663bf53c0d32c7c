"""Runs on several days: what each reported, and what it asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collector.simulator.journal import Entry
from tests.acceptance.program import World, new_york

DAILY = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT"]


@dataclass
class Step:
    """A run of the story: its report, and the calls that reached the server."""

    report: dict[str, Any]
    calls: list[Entry]

    @property
    def asked_from(self) -> set[str]:
        """The ``from`` of the calls."""
        return {entry.query["from"] for entry in self.calls}

    @property
    def counts(self) -> dict[str, int]:
        """The tickers by outcome, without the zeros."""
        return {name: n for name, n in self.report["tickers"].items() if n and name != "asked"}


def step(world: World, text: str, *words: str, **variables: str) -> Step:
    """Run at ``text`` on New York's clocks."""
    world.calls()
    settings = {"COLLECTOR_FMP__HISTORY_YEARS": "3", **variables}
    report = world.report(*(words or DAILY), at=new_york(text), **settings)
    return Step(report, world.calls())
