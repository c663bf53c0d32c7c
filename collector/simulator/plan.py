"""What a subscription allows, and what FMP answers to the rest (FMP.md, sections 2 and 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from collector.simulator.tickers import demo_tickers

HOURLY = "historical-chart/1hour"
FREE_SYMBOLS = 43


@dataclass(frozen=True)
class Plan:
    """The limits of one subscription; the default has none.

    ``earliest_from`` and ``history_years`` bound the parameter ``from`` (the later one counts).
    ``symbols`` are the only ones allowed, where given; ``refused_symbols`` are never allowed.
    ``refused_paths`` are endpoints below ``/stable/``. ``splits_limit`` bounds ``limit`` of
    ``splits``.
    """

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    earliest_from: date | None = None
    history_years: int | None = None
    symbols: frozenset[str] | None = None
    refused_symbols: frozenset[str] = field(default_factory=frozenset)
    refused_paths: frozenset[str] = field(default_factory=frozenset)
    splits_limit: int | None = None

    def allows_symbol(self, symbol: str) -> bool:
        """Whether the plan serves ``symbol`` at all."""
        return symbol not in self.refused_symbols and (
            self.symbols is None or symbol in self.symbols
        )

    def allows_from(self, first: date, today: date) -> bool:
        """Whether the plan reaches back to ``first``."""
        earliest = [self.earliest_from] if self.earliest_from else []
        if self.history_years is not None:
            earliest.append(years_before(today, self.history_years))
        return all(first >= bound for bound in earliest)


PLANS = {
    "free": Plan(
        requests_per_day=250,
        history_years=5,
        symbols=frozenset(demo_tickers()[:FREE_SYMBOLS]),
        refused_paths=frozenset({HOURLY, "stock-list"}),
        splits_limit=5,
    ),
    "starter": Plan(requests_per_minute=300, history_years=5),
    "premium": Plan(requests_per_minute=750),
    "ultimate": Plan(requests_per_minute=3000),
}


def years_before(day: date, years: int) -> date:
    """The same day ``years`` earlier; 29 February becomes the 28th."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)
