"""One request as the simulator sees it, and one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

JSON = "application/json; charset=utf-8"  # FMP writes it on its plain-text errors too


@dataclass(frozen=True)
class Call:
    """A GET: ``path`` without outer slashes, ``query`` decoded and without the key."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    key: str = ""

    @property
    def endpoint(self) -> str:
        """The path below ``stable/``, or the empty text for another tree."""
        tree, _, rest = self.path.partition("/")
        return rest if tree == "stable" else ""

    @property
    def symbol(self) -> str:
        """The parameter ``symbol``, empty if absent."""
        return self.query.get("symbol", "")

    def day(self, name: str) -> date | None:
        """A date parameter; a bad date counts as absent, as FMP has it."""
        try:
            return date.fromisoformat(self.query.get(name, ""))
        except ValueError:
            return None

    def number(self, name: str) -> int | None:
        """A whole-number parameter; a bad number counts as absent."""
        text = self.query.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True)
class Answer:
    """Status and uncompressed body; ``headers`` replace those that every answer has."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
