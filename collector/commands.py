"""What each command does, once its settings are known. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import orjson

from collector import terminal
from collector.app import Setup, opened_rooms
from collector.collect.report import Item, Outcome, Report, Status, exit_code
from collector.collect.run import Order, Rooms, Run, run_id
from collector.errors import CollectorError, Kind, LockHeld, UsageError
from collector.market.plan import EARLIEST
from collector.market.ticker import parse_tickers
from collector.signals import Stop
from collector.store import universe

log = logging.getLogger(__name__)

LOCK_WAIT_S = 3600.0
LARGEST_LIST = 8 * 2**20  # bytes of a file of tickers

EMPTY_UNIVERSE = """\
the universe is empty: there is nothing to run
fill it with `collector tickers add AAPL MSFT`, `collector tickers import FILE`, or universe.tickers
or name tickers for this run: --tickers AAPL,MSFT"""

Ordering = Callable[[Rooms], Awaitable[Order]]


async def run(setup: Setup, args: argparse.Namespace, stop: Stop) -> int:
    """Fetch what is new for the universe or the named tickers, store it, publish it."""
    named = args.tickers or (tickers_in(args.tickers_file) if args.tickers_file else None)

    async def ordering(rooms: Rooms) -> Order:
        timeframe = args.timeframe
        tickers = named or await universe.active(rooms.store, timeframe.fetched_as)
        if not tickers:
            raise UsageError(EMPTY_UNIVERSE)
        return Order(timeframe, tuple(tickers))

    return await _collect(setup, args, stop, ordering, named or ())


async def backfill(setup: Setup, args: argparse.Namespace, stop: Stop) -> int:
    """Fetch all history of the named tickers, or that of the days asked for."""
    if args.since and args.until and args.until < args.since:
        raise UsageError("--until is before --since: there is nothing to fetch")
    tickers = parse_tickers(args.tickers)
    until = args.until + timedelta(days=1) if args.until else None
    order = Order(args.timeframe, tuple(tickers), args.since or EARLIEST, until)

    async def ordering(_: Rooms) -> Order:
        return order

    return await _collect(setup, args, stop, ordering, tickers)


async def _collect(
    setup: Setup, args: argparse.Namespace, stop: Stop, ordering: Ordering, named: Sequence[str]
) -> int:
    """Do a run under the fetch lock, and print its report."""
    try:
        force = getattr(args, "force", False)
        async with opened_rooms(setup, force=force) as rooms:
            await rooms.lock.acquire(0 if args.no_wait else LOCK_WAIT_S)
            order = await ordering(rooms)
            stop.starting = None  # from here on the run itself ends cleanly
            with terminal.shown() as progress:
                report = await Run(rooms, order, stop.event, progress).execute()
            print_result(report.as_json() if args.json else terminal.summary(report))
    except CollectorError as error:
        if args.json and not isinstance(error, UsageError):
            print_result(_not_begun(setup, args, named, error).as_json())
        raise
    return exit_code(report, stop.by)


def _not_begun(
    setup: Setup, args: argparse.Namespace, named: Sequence[str], error: CollectorError
) -> Report:
    """The report of a run that could not begin: nothing was attempted."""
    held = isinstance(error, LockHeld)
    kind = Kind.CANCELLED if held else Kind.DB_UNAVAILABLE
    at = setup.clock()
    return Report(
        run_id(at, args.timeframe),
        args.timeframe,
        Status.SKIPPED if held else Status.FAILED,
        at,
        at,
        {"asked": len(named)}
        | {outcome.value: 0 for outcome in Outcome}
        | {Outcome.NOT_ATTEMPTED.value: len(named)},
        dict.fromkeys(("fetched", "inserted", "revised", "rejected"), 0),
        dict.fromkeys(("calls", "retries", "throttled", "bytes"), 0),
        dict.fromkeys(("published", "failed", "round_trips", "bytes"), 0),
        tuple(Item(ticker, Outcome.NOT_ATTEMPTED, kind, str(error)) for ticker in named),
    )


def tickers_in(path: Path) -> list[str]:
    """The tickers of a file: separated by commas, spaces or lines; ``#`` begins a comment.

    Raises `UsageError` where the file cannot be read or holds none, `BadTicker` for a wrong one.
    """
    try:
        text = path.read_text("utf-8-sig") if path.stat().st_size <= LARGEST_LIST else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: {error.strerror or error}"
            if isinstance(error, OSError)
            else f"{path}: not text in UTF-8"
        ) from None
    if text is None:
        raise UsageError(
            f"{path}: larger than {LARGEST_LIST >> 20} MiB, which no list of tickers is"
        )
    lines = (line.split("#", 1)[0].replace(",", " ") for line in text.splitlines())
    tickers = parse_tickers(word for line in lines for word in line.split())
    if not tickers:
        raise UsageError(f"{path}: holds no ticker")
    return tickers


def print_result(result: str | dict[str, object]) -> None:
    text = result if isinstance(result, str) else orjson.dumps(result).decode()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
