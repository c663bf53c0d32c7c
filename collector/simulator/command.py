"""``collector simulator``: the simulator alone, until it is told to stop.

Nothing heavy is imported before `main` runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from collector.errors import UsageError
from collector.simulator.plan import PLANS, Plan

if TYPE_CHECKING:
    from collector.simulator.app import SimulatorConfig
    from collector.simulator.history import History


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``collector simulator``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to listen on (any free one)"
    )
    parser.add_argument(
        "--requests-per-minute",
        type=_positive,
        metavar="N",
        help="answer 429 to more than N calls in any 60 s",
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        metavar="N",
        help="wait so long before each answer (0)",
    )
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="serve the daily bars of this parquet file"
    )
    parser.add_argument(
        "--now",
        type=_instant,
        metavar="INSTANT",
        help="start the clock at 2018-02-08T11:00:00Z, say",
    )
    parser.add_argument(
        "--plan", choices=PLANS, help="keep to the limits of this FMP plan (no limits)"
    )
    parser.add_argument(
        "--key",
        action="append",
        metavar="KEY",
        help="accept this key only; may be repeated (any key)",
    )


async def main(args: argparse.Namespace) -> int:
    """Print the base URL in one line and serve until SIGTERM or SIGINT. The exit code is 0.

    Raises `UsageError` where the file cannot be replayed or the port cannot be had.
    """
    from collector.signals import stop_on_signals
    from collector.simulator.app import serve

    config = _config(args)
    try:
        with stop_on_signals() as stop:
            stop.starting = None
            async with serve(config, args.host, args.port) as base_url:
                sys.stdout.write(f"{base_url}\n")
                sys.stdout.flush()
                await stop.event.wait()
    except OSError as error:
        raise UsageError(f"cannot listen on {args.host}:{args.port}: {error.strerror}") from None
    return 0


def _config(args: argparse.Namespace) -> SimulatorConfig:
    from collector.clock import clock
    from collector.simulator.app import SimulatorConfig

    return SimulatorConfig(
        history=_history(args.replay),
        keys=frozenset(args.key) if args.key else None,
        requests_per_minute=args.requests_per_minute,
        plan=PLANS[args.plan] if args.plan else Plan(),
        latency_s=args.latency_ms / 1000,
        clock=clock(args.now),
    )


def _history(replay: Path | None) -> History:
    from polars.exceptions import PolarsError

    from collector.simulator.history import GeneratedBars, ReplayedBars

    if replay is None:
        return GeneratedBars()
    try:
        return ReplayedBars(replay)
    except (OSError, PolarsError) as error:
        raise UsageError(f"cannot replay {replay}: {str(error).splitlines()[0]}") from None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"not an instant: {text!r} (like 2018-02-08T11:00:00Z)"
        ) from None
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} lacks its offset (like 2018-02-08T11:00:00Z)")
    return instant


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return number
