"""The commands that ask FMP nothing: show, warm, tickers."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from collector.app import Setup, opened_database, opened_publishing, opened_redis
from collector.cache.codec import frame
from collector.cache.read import get_many
from collector.commands import EMPTY_UNIVERSE, print_result, tickers_in
from collector.errors import UsageError
from collector.market.ticker import parse_tickers
from collector.market.timeframe import Timeframe
from collector.signals import Stop
from collector.store import universe
from collector.store.read import frame_of, last_bars


@dataclass(frozen=True)
class Shown:
    """A ticker's last bars, and where they came from: ``CACHE``, ``DATABASE`` or ``MISSING``."""

    source: str
    bars: pl.DataFrame | None = None
    published_at: datetime | None = None
    fresh_until: datetime | None = None


async def show(setup: Setup, args: argparse.Namespace, stop: Stop) -> int:  # noqa: ARG001
    """Print a ticker's last bars from Redis, else from the database."""
    timeframe: Timeframe = args.timeframe
    found = await _cached(setup, args.ticker, timeframe, args.rows)
    if found is None:
        found = await _stored(setup, args.ticker, timeframe, args.rows)
    at = setup.clock()
    print_result(
        _shown_json(found, args.ticker, timeframe, at)
        if args.json
        else _shown_text(found, args.ticker, timeframe, at)
    )
    return 0 if found.bars is not None else 3


async def _cached(setup: Setup, ticker: str, timeframe: Timeframe, rows: int) -> Shown | None:
    told = setup.settings.cache
    if rows > told.lookback:
        return None
    async with opened_redis(setup) as client:
        if client is None:
            return None
        values = await get_many(client, told.key_prefix, [ticker], timeframe, told.lookback)
    value = values.get(ticker)
    if value is None:
        return None
    return Shown("CACHE", frame(value).tail(rows), value.published_at, value.fresh_until)


async def _stored(setup: Setup, ticker: str, timeframe: Timeframe, rows: int) -> Shown:
    async with opened_database(setup, writes=False) as database:
        async for chunk in last_bars(database.store, [ticker], timeframe, rows):
            for bars in chunk:
                return Shown("DATABASE", frame_of(bars))
    return Shown("MISSING")


def _shown_json(found: Shown, ticker: str, timeframe: Timeframe, at: datetime) -> dict[str, Any]:
    age_s = (at - found.published_at).total_seconds() if found.published_at else None
    result: dict[str, Any] = {
        "ticker": ticker,
        "timeframe": timeframe.value,
        "source": found.source,
        "published_at": found.published_at,
        "age_s": None if age_s is None else round(age_s, 1),
        "fresh_until": found.fresh_until,
    }
    if found.bars is None:
        return result
    bars = found.bars.to_dict(as_series=False)
    return result | {
        "through": bars[timeframe.instant][-1],
        "rows": found.bars.height,
        "bars": bars,
    }


def _shown_text(found: Shown, ticker: str, timeframe: Timeframe, at: datetime) -> str:
    if found.bars is None:
        fetch = f"collector backfill {ticker} --timeframe {timeframe}"
        return f"{ticker} {timeframe}: MISSING (fetch it with `{fetch}`)"
    origin = found.source
    if found.published_at is not None and found.fresh_until is not None:
        age = _span((at - found.published_at).total_seconds())
        state = "fresh until" if at <= found.fresh_until else "STALE since"
        origin += f", published {age} ago, {state} {found.fresh_until:%Y-%m-%d %H:%M} UTC"
    with pl.Config(
        tbl_formatting="NOTHING",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=-1,
        float_precision=4,
        thousands_separator=",",
    ):
        bars = found.bars.with_columns(pl.col("volume").round(0).cast(pl.Int64, strict=False))
        return f"{ticker} {timeframe}, {bars.height} bars, from {origin}\n{bars}"


def _span(seconds: float) -> str:
    """A span for a person: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


async def warm(setup: Setup, args: argparse.Namespace, stop: Stop) -> int:  # noqa: ARG001
    """Publish the universe from the database. Exits 4 where nothing, 3 where not all could be."""
    timeframe: Timeframe = args.timeframe
    async with opened_database(setup, writes=False) as database:
        tickers = await universe.active(database.store, timeframe.fetched_as)
        if not tickers:
            raise UsageError(EMPTY_UNIVERSE)
        async with opened_publishing(setup, database.store) as publishing:
            await publishing.publish(tickers, timeframe.published, None)
            counts = publishing.publisher.counts
    print_result(
        vars(counts)
        if args.json
        else f"{counts.published:,} values published, {counts.failed:,} failed, "
        f"{counts.round_trips:,} round trips, {counts.bytes / 1e6:,.1f} MB"
    )
    if counts.failed:
        return 3 if counts.published else 4
    return 0


async def tickers(setup: Setup, args: argparse.Namespace, stop: Stop) -> int:  # noqa: ARG001
    """List or change the universe."""
    names = _names(args.action, args.names)
    async with opened_database(setup, writes=args.action != "list") as database:
        store = database.store
        if args.action == "list":
            listed = await universe.listed(store)
            print_result(_listed_json(listed) if args.json else _listed_text(listed))
            return 0
        change = universe.remove if args.action == "remove" else universe.add
        changed = await change(store, names, setup.clock())
    print_result(
        {"action": args.action, "changed": changed, "unchanged": sorted(set(names) - set(changed))}
        if args.json
        else _changed_text(args.action, names, changed)
    )
    return 0


def _listed_json(listed: list[universe.Listed]) -> dict[str, Any]:
    return {"tickers": [asdict(each) for each in listed]}


def _listed_text(listed: list[universe.Listed]) -> str:
    active = [each.ticker for each in listed if each.active]
    removed = len(listed) - len(active)
    return "\n".join([*active, f"# {len(active)} tickers, {removed} removed ones kept"])


def _changed_text(action: str, names: list[str], changed: list[str]) -> str:
    if action == "remove":
        undo = f"; undo with `collector tickers add {' '.join(changed[:5])}`" if changed else ""
        return f"{len(changed)} of {len(names)} removed, their prices stay{undo}"
    known = len(names) - len(changed)
    return f"{len(changed)} added" + (f", {known} already there" if known else "")


def _names(action: str, words: list[str]) -> list[str]:
    """The tickers that the command line or its file names. Raises `UsageError`, `BadTicker`."""
    if action == "list":
        if words:
            raise UsageError("`collector tickers list` takes no names")
        return []
    if not words:
        raise UsageError(
            f"`collector tickers {action}` needs {'a file' if action == 'import' else 'tickers'}"
        )
    if action == "import":
        return [ticker for word in words for ticker in tickers_in(Path(word))]
    return parse_tickers(words)
