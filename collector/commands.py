"""What each command does, once its settings are known. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import argparse
import asyncio
import csv
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import orjson

from collector import terminal
from collector.app import Setup, opened_rooms
from collector.collect.report import Item, Outcome, Report, Status, exit_code
from collector.collect.run import Order, Rooms, Run, run_id
from collector.errors import CollectorError, Kind, LockHeld, UsageError
from collector.market.plan import EARLIEST
from collector.market.ticker import BadTicker, parse_ticker, parse_tickers
from collector.signals import Stop
from collector.store import universe

log = logging.getLogger(__name__)

LOCK_WAIT_S = 3600.0
WRONG_SHOWN = 20  # of a file's words that are no tickers
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
        wait_s, force = 0.0 if args.no_wait else LOCK_WAIT_S, getattr(args, "force", False)
        async with opened_rooms(setup, wait_s=wait_s, force=force) as rooms:
            order = await ordering(rooms)
            stop.starting = None  # from here on the run itself ends cleanly
            with terminal.shown() as progress:
                report = await Run(rooms, order, stop.event, progress).execute()
            print_result(report.as_json() if args.json else terminal.summary(report))
    except asyncio.CancelledError:
        if args.json and stop.by is not None:
            why = "stopped before the run began"
            print_result(
                _not_begun(setup, args, named, Status.INTERRUPTED, Kind.CANCELLED, why).as_json()
            )
        raise
    except CollectorError as error:
        if args.json and not isinstance(error, UsageError):
            held = isinstance(error, LockHeld)
            status = Status.SKIPPED if held else Status.FAILED
            kind = Kind.CANCELLED if held else Kind.DB_UNAVAILABLE
            print_result(_not_begun(setup, args, named, status, kind, str(error)).as_json())
        raise
    # A signal that came when all was done and told changes nothing any more.
    return exit_code(report, stop.by if report.status is Status.INTERRUPTED else None)


def _not_begun(
    setup: Setup,
    args: argparse.Namespace,
    named: Sequence[str],
    status: Status,
    kind: Kind,
    why: str,
) -> Report:
    """The report of a run that did not begin: nothing was attempted."""
    at = setup.clock()
    return Report(
        run_id(at, args.timeframe),
        args.timeframe,
        status,
        at,
        at,
        0.0,
        {"asked": len(named)}
        | {outcome.value: 0 for outcome in Outcome}
        | {Outcome.NOT_ATTEMPTED.value: len(named)},
        dict.fromkeys(("fetched", "inserted", "revised", "rejected"), 0),
        dict.fromkeys(("calls", "retries", "throttled", "bytes"), 0),
        dict.fromkeys(("published", "failed", "round_trips", "bytes"), 0),
        tuple(Item(ticker, Outcome.NOT_ATTEMPTED, kind, why) for ticker in named),
    )


def tickers_in(path: Path) -> list[str]:
    """The tickers of a file: separated by commas, spaces or lines; ``#`` begins a comment.

    Of a CSV file whose first line names a column ``symbol`` or ``ticker`` that column is read.
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
    tickers = _parsed(path, text)
    if not tickers:
        raise UsageError(f"{path}: holds no ticker")
    return tickers


def _parsed(path: Path, text: str) -> list[str]:
    """The tickers of ``text``, once each. Raises `BadTicker`, which names what is none by line."""
    found, wrong = [], []
    for number, word in _words(text):
        try:
            found.append(parse_ticker(word))
        except BadTicker as error:
            wrong.append(f"{path}:{number}: {error}")
    if wrong:
        more = [f"and {len(wrong) - WRONG_SHOWN} more"] if len(wrong) > WRONG_SHOWN else []
        raise BadTicker("\n".join([*wrong[:WRONG_SHOWN], *more]))
    return list(dict.fromkeys(found))


def _words(text: str) -> Iterator[tuple[int, str]]:
    """The words that should be tickers, with the number of their line."""
    rows = csv.reader(text.splitlines())
    header = [cell.strip().lower() for cell in next(rows, [])]
    columns = [n for n, name in enumerate(header) if name in ("symbol", "ticker")]
    if columns:
        yield from ((rows.line_num, row[columns[0]]) for row in rows if len(row) > columns[0])
        return
    for number, line in enumerate(text.splitlines(), 1):
        yield from ((number, word) for word in line.split("#", 1)[0].replace(",", " ").split())


def print_result(result: str | dict[str, object]) -> None:
    text = result if isinstance(result, str) else orjson.dumps(result).decode()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the results has enough of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
