"""The one pattern for tickers, at every door."""

from __future__ import annotations

import re
from collections.abc import Iterable

PATTERN = re.compile(r"[A-Z0-9^][A-Z0-9.\-=^]{0,19}")


class BadTicker(ValueError):
    """The text is not a ticker; the message shows it escaped and cut."""


def parse_ticker(text: str) -> str:
    """Return ``text`` upper-cased and stripped, or raise `BadTicker`.

    The pattern is ``[A-Z0-9^][A-Z0-9.\\-=^]{0,19}``, matched against the whole string.
    Only ASCII is folded, so that ``ſ`` does not become ``S``.
    """
    stripped = text.strip()
    ticker = stripped.upper() if stripped.isascii() else stripped
    if not PATTERN.fullmatch(ticker):
        raise BadTicker(
            f"not a ticker: {text[:40]!a} (allowed: letters, digits and . - = ^, up to 20)"
        )
    return ticker


def parse_tickers(texts: Iterable[str]) -> list[str]:
    """Return the tickers without duplicates, in the order of their first mention."""
    return list(dict.fromkeys(parse_ticker(text) for text in texts))
