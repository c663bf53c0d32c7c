"""The command line: one short function per command.

Heavy modules are imported by the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector import arguments
from collector.errors import CollectorError, UsageError
from collector.market.ticker import BadTicker
from collector.market.timeframe import Timeframe
from collector.signals import exit_on_signals

if TYPE_CHECKING:
    from collector.app import Setup
    from collector.signals import Stop

    Command = Callable[[Setup, argparse.Namespace, Stop], Coroutine[Any, Any, int]]


DESCRIPTION = """\
Keeps market prices fresh: fetches bars from Financial Modeling Prep (FMP), stores them in
PostgreSQL, and publishes the newest to Redis, for scanners that cannot wait."""

EPILOG = """\
without key, database or network:
  collector run --timeframe 1d --demo
  collector show AAPL --demo

exit codes: 0 done; 2 usage or configuration; 3 some tickers failed; 4 nothing could be stored;
5 key, plan or quota refused; 6 the database's schema does not fit; 75 another instance fetches;
130/143 stopped by a signal. `collector COMMAND --help` has an example for each command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code."""
    args = parser().parse_args(argv)
    try:
        with exit_on_signals():
            return int(args.command(args))
    except (CollectorError, BadTicker) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"collector: {line}\n")
        return error.exit_code if isinstance(error, CollectorError) else UsageError.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - a defect: its traceback must not show a secret
        return _defect()


def _defect() -> int:
    """Print the traceback of an error that nobody expected, without secrets."""
    import traceback

    from collector import logs

    sys.stderr.write(logs.redact(traceback.format_exc()))
    sys.stderr.write("collector: this is a defect; please report the lines above\n")
    return 1


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        "collector",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"collector {version('collector')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_run, _add_backfill, _add_show, _add_warm, _add_tickers, _add_simulator):
        add(commands)
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command with the options that all of them have."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--config", type=Path, metavar="PATH", help="the configuration file (default: config.toml)"
    )
    command.set_defaults(command=function)
    return command


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "run",
        _lazily("collector.commands", "run"),
        "fetch what is new for the universe, store it, publish it",
        "  collector run --timeframe 1d\n  collector run --timeframe 1d --tickers AAPL,MSFT --json",
    )
    _timeframe(command, required=True)
    some = command.add_mutually_exclusive_group()
    some.add_argument(
        "--tickers", type=arguments.tickers, metavar="A,B,…", help="these instead of the universe"
    )
    some.add_argument(
        "--tickers-file", type=Path, metavar="FILE", help="those in FILE, one a line, # comments"
    )
    command.add_argument(
        "--force", action="store_true", help="fetch fmp.history_years again, whatever is stored"
    )
    _fetching(command)


def _add_backfill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "backfill",
        _lazily("collector.commands", "backfill"),
        "fetch all history of some tickers; stopped, it goes on where it stood",
        "  collector backfill AAPL MSFT\n"
        "  collector backfill AAPL --timeframe 1h --since 2020-01-01",
    )
    command.add_argument("tickers", nargs="+", type=arguments.ticker, metavar="TICKER")
    _timeframe(command, default=Timeframe.DAY)
    command.add_argument(
        "--since",
        type=arguments.day,
        metavar="DATE",
        help="not before this day (default: all there is)",
    )
    command.add_argument(
        "--until", type=arguments.day, metavar="DATE", help="not after this day (default: to now)"
    )
    _fetching(command)


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "show",
        _lazily("collector.lookups", "show"),
        "show a ticker's last bars, with their source and age",
        "  collector show AAPL --rows 5\n  collector show AAPL --timeframe 1wk --json",
    )
    command.add_argument("ticker", type=arguments.ticker, metavar="TICKER")
    _timeframe(command, default=Timeframe.DAY)
    command.add_argument(
        "--rows", type=arguments.count, default=10, metavar="N", help="how many bars (default: 10)"
    )
    _output(command)


def _add_warm(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "warm",
        _lazily("collector.lookups", "warm"),
        "publish the universe from the database, without any API call",
        "  collector warm --timeframe 1d",
    )
    _timeframe(command, default=Timeframe.DAY)
    _output(command)


def _add_tickers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "tickers",
        _lazily("collector.lookups", "tickers"),
        "list or change the universe: the tickers that `collector run` covers",
        "  collector tickers add AAPL BRK-B ^GSPC\n  collector tickers import sp500.txt\n"
        "  collector tickers remove AAPL    (keeps its history; `add` brings it back)",
    )
    command.add_argument("action", choices=["list", "add", "remove", "import"])
    command.add_argument(
        "names", nargs="*", metavar="TICKER|FILE", help="tickers, or for import the file"
    )
    _output(command)


def _add_simulator(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from collector.simulator.command import add_arguments

    command = _command(
        commands,
        "simulator",
        _simulator,
        "serve simulated FMP prices, for trials and tests",
        "  collector simulator --port 8970\n"
        "  FMP_BASE_URL=http://127.0.0.1:8970/stable FMP_API_KEY=demo collector run --timeframe 1d",
    )
    add_arguments(command)


def _timeframe(
    command: argparse.ArgumentParser, *, required: bool = False, default: Timeframe | None = None
) -> None:
    command.add_argument(
        "--timeframe",
        type=arguments.timeframe,
        metavar="{1h,1d,1wk}",
        help="the period of the bars",
        required=required,
        default=default,
    )


def _fetching(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-wait", action="store_true", help="exit 75 where another instance fetches"
    )
    _output(command)


def _output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="print the result as one JSON document"
    )
    command.add_argument(
        "--demo", action="store_true", help="simulated prices in a database of their own"
    )


def _lazily(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command whose room is imported when it is called, and not before."""

    def call(args: argparse.Namespace) -> int:
        return _go(args, getattr(import_module(module), name))

    return call


def _simulator(args: argparse.Namespace) -> int:
    import uvloop

    from collector.simulator.command import main as serve

    return uvloop.run(serve(args))


def _go(args: argparse.Namespace, command: Command) -> int:
    """Read the settings, set up the log, and run ``command`` until it ends or is stopped."""
    import uvloop

    from collector.app import setup
    from collector.signals import stop_on_signals

    prepared = setup(args.config, demo=args.demo, environ=os.environ)

    async def go() -> int:
        with stop_on_signals() as stop:
            try:
                return await command(prepared, args, stop)
            except asyncio.CancelledError:
                if stop.by is None:
                    raise
                return 128 + stop.by

    return uvloop.run(go())
