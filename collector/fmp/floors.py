"""How far back the plan allows to ask, learnt from its refusals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from collector.fmp.endpoints import PLAN_HISTORY
from collector.market.plan import Window


@dataclass(frozen=True)
class Floor:
    """Windows may not begin before ``day``; if ``is_open``, they must not name a ``from``."""

    day: date
    is_open: bool = False

    def cut(self, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        """What of ``windows`` lies above the floor; of those that lie below nothing is asked."""
        return tuple(
            Window(max(window.start, self.day), window.end)
            for window in windows
            if window.end > self.day
        )

    def hides(self, window: Window) -> bool:
        """Whether ``window``, once cut, is to be asked without ``from``."""
        return self.is_open and window.start <= self.day


class Floors:
    """The floor of each endpoint, as far as one is known: other tickers need not be refused too."""

    def __init__(self) -> None:
        self._known: dict[str, Floor] = {}

    def of(self, path: str) -> Floor | None:
        """What is known of ``path``."""
        return self._known.get(path)

    def refused(self, path: str, asked: Floor | None, end: date) -> Floor | None:
        """A call that kept to ``asked`` was refused: the floor to keep to now, or None.

        First five years before ``end``; where these are refused too, no ``from`` at all.
        """
        known = self._known.get(path)
        if known != asked:  # another ticker has learnt it meanwhile
            return known
        day = end - PLAN_HISTORY
        if asked is None or asked.day < day:
            self._known[path] = Floor(day)
        elif not asked.is_open:
            self._known[path] = Floor(asked.day, is_open=True)
        else:
            return None
        return self._known[path]
