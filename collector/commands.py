"""What each command does, once its settings are known. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from collector import terminal
from collector.app import Setup, opened_cache, opened_store, rooms
from collector.collect.report import Report, Status, exit_code
from collector.collect.run import Order, Rooms, Run
from collector.errors import LockHeld, UsageError
from collector.market.plan import EARLIEST
from collector.market.ticker import parse_tickers
from collector.market.timeframe import Timeframe
from collector.signals import Stop, stop_on_signals
from collector.store import universe

log = logging.getLogger(__name__)

LOCK_WAIT_S = 3600.0

EMPTY_UNIVERSE = """\
the universe is empty: there is nothing to run
fill it with `collector tickers add AAPL MSFT`, `collector tickers import FILE`, or universe.tickers in config.toml
or name tickers for this run: --tickers AAPL,MSFT"""


async def run(setup: Setup, args: argparse.Namespace) -> int:
    """Fetch what is new, store it, publish it."""

    async def order(opened: Rooms) -> Order:
        tickers = args.tickers or _from_file(args.tickers_file) or await _universe(opened, args.timeframe)
        return Order(args.timeframe, tuple(tickers))

    return await _collect(setup, args, order, force=args.force)


async def backfill(setup: Setup, args: argparse.Namespace) -> int:
    """Fetch all history of some tickers."""

    async def order(_: Rooms) -> Order:
        until = args.until + timedelta(days=1) if args.until else None
        return Order(args.timeframe, tuple(parse_tickers(args.tickers)), args.since or EARLIEST, until)

    if args.since and args.until and args.until < args.since:
        raise UsageError("--until is before --since: nothing to fetch")
    return await _collect(setup, args, order)
