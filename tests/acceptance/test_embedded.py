"""Without a database: engines of the program's own, and what keeps them from the wrong one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.program import KEY, MORNING, World
from tests.servers import wait_until

RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL"]
NO_SERVERS = ("DATABASE_URL", "REDIS_URL")


def places(err: str) -> list[str]:
    """Where the engines say that they live."""
    return re.findall(r"started embedded \w+.* \((/[^)]+)\)", err)


def processes_with(text: str) -> list[str]:
    """The command lines of all processes that name ``text``."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        lines.append(line)
    return [line for line in lines if text in line]


def test_data_lasts_between_commands_and_no_process_stays(world: World, engines_home: str) -> None:
    world.variables["COLLECTOR_DATA_DIR"] = engines_home
    first = world.run(*RUN, "--json", at=MORNING, without=NO_SERVERS)
    homes = places(first.err)
    assert [Path(home).parent for home in homes] == [Path(engines_home)] * 2, first.err
    assert first.json["tickers"]["stored"] == 1
    wait_until(lambda: not any(processes_with(home) for home in homes), "the engines are gone")
    second = world.run(*RUN, "--json", at=MORNING, without=NO_SERVERS)
    assert second.json["tickers"]["unchanged"] == 1
    assert places(second.err) == homes
    assert len(world.calls()) == 1
    shown = world.run("show", "AAPL", "--json", at=MORNING, without=NO_SERVERS).json
    assert shown["through"] == "2025-03-04"
    assert shown["source"] in ("CACHE", "DATABASE")
    wait_until(lambda: not any(processes_with(home) for home in homes), "the engines are gone")
    assert world.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", "postgresql://u@127.0.0.1:1/x"),
                        ("REDIS_URL", "redis://127.0.0.1:1/0"), ("REDIS_HOST", "127.0.0.1")]
)  # fmt: skip
def test_demo_is_refused_where_a_real_server_is_configured(
    alone: Callable[..., World], name: str, value: str
) -> None:
    result = alone(**{name: value}).run("run", "--timeframe", "1d", "--demo", code=2)
    assert "--demo" in result.err
    assert result.out == ""


def test_demo_is_refused_where_the_file_configures_a_database(alone: Callable[..., World]) -> None:
    world = alone()
    (world.home / "config.toml").write_text('[postgres]\ndsn = "postgresql://u@127.0.0.1:1/x"\n')
    assert "postgres.dsn" in world.run("run", "--timeframe", "1d", "--demo", code=2).err


@pytest.mark.parametrize("name", ["DATABSE_URL", "REDIS_ULR", "FMP_APIKEY"])
def test_a_misspelt_variable_is_an_error(alone: Callable[..., World], name: str) -> None:
    world = alone(**{"FMP_API_KEY": KEY, name: "postgresql://u:s3cret-pw@127.0.0.1:1/x"})
    result = world.run(*RUN, code=2)
    assert name in result.err
    assert "s3cret-pw" not in result.err
    assert not (world.home / "own").exists()


def test_demo_needs_no_key_and_brings_fifty_tickers(
    alone: Callable[..., World], engines_home: str
) -> None:
    world = alone(COLLECTOR_FMP__HISTORY_YEARS="1", COLLECTOR_DATA_DIR=engines_home)
    report = world.run("run", "--timeframe", "1d", "--demo", "--json").json
    assert report["tickers"]["stored"] == 50
    assert report["cache"]["published"] == 100
    listed = world.run("tickers", "list", "--demo").out.split()
    assert {"AAPL", "MSFT"} <= set(listed)
    assert [entry.name for entry in Path(engines_home).iterdir()] == ["demo"]
