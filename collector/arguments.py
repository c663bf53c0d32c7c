"""What the words of the command line may be: each is checked where it comes in."""

from __future__ import annotations

import argparse
from datetime import date

from collector.market.ticker import BadTicker, parse_ticker, parse_tickers
from collector.market.timeframe import Timeframe


def ticker(text: str) -> str:
    """A ticker, in upper case."""
    try:
        return parse_ticker(text)
    except BadTicker as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def timeframe(text: str) -> Timeframe:
    """One of the three timeframes."""
    try:
        return Timeframe(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a timeframe: {text[:40]!a} (1h, 1d, 1wk)") from None


def tickers(text: str) -> list[str]:
    """Tickers with commas between them."""
    try:
        found = parse_tickers(part for part in text.split(",") if part.strip())
    except BadTicker as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:  # an unset variable must not mean the whole universe
        raise argparse.ArgumentTypeError("no ticker is named")
    return found


def day(text: str) -> date:
    """A date such as 2020-01-31."""
    try:
        return date.fromisoformat(text if text < "9000" else "")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"not a date: {text[:40]!a} (such as 2020-01-31)"
        ) from None


def count(text: str) -> int:
    """A whole number from 1 to 100,000."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"not a number from 1 to 100000: {text[:40]!a}")
    return int(text)
