"""Who wants to see how far a run is."""

from __future__ import annotations

from typing import Protocol

from collector.collect.report import Item


class Progress(Protocol):
    """Told of every ticker that ends."""

    def start(self, total: int) -> None:
        """The run covers ``total`` tickers."""

    def ended(self, item: Item) -> None:
        """A ticker has its outcome."""

    def phase(self, name: str) -> None:
        """The run goes on with something else: ``publishing``."""


class Silent:
    """Shows nothing."""

    def start(self, total: int) -> None:
        """Show nothing."""

    def ended(self, item: Item) -> None:
        """Show nothing."""

    def phase(self, name: str) -> None:
        """Show nothing."""
