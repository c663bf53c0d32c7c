"""Help that a newcomer can work from, and that answers at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.program import World

COMMANDS = ["run", "backfill", "show", "warm", "tickers", "simulator"]
HEAVY = {"polars", "exchange_calendars", "aiohttp", "asyncpg", "pydantic", "numpy", "pandas"}
PROGRAM = """
import sys
from collector.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit:
    assert not exit.code, exit.code
sys.stderr.write(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(alone: Callable[..., World], command: str) -> None:
    result = alone().run(command, "--help")
    assert f"collector {command}" in result.out.partition("example")[2]
    assert "--config" in result.out
    assert result.err == ""


def test_the_help_names_every_command_and_the_exit_codes(alone: Callable[..., World]) -> None:
    told = alone().run("--help").out
    assert all(command in told for command in COMMANDS)
    assert all(code in told for code in ("2 ", "3 ", "4 ", "5 ", "6 ", "75 ", "130/143"))
    assert alone().run("--version").out.startswith("collector ")


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)])
def test_help_imports_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert set(done.stderr.split(",")) & HEAVY == set()
    assert "argparse" in done.stderr.split(",")
