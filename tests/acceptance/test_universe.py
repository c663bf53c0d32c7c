"""The universe, and what a person sees of a ticker."""

from __future__ import annotations

from datetime import datetime

from tests.acceptance.bars import stored
from tests.acceptance.program import MORNING, World


def active(world: World) -> list[str]:
    """The tickers of a JSON listing that are active."""
    listed = world.run("tickers", "list", "--json").json["tickers"]
    return [row["ticker"] for row in listed if row["active"]]


def test_add_list_and_remove(world: World) -> None:
    told = world.run("tickers", "add", "aapl", "BRK-B", "^GSPC", "RR.L", "--json").json
    assert sorted(told["changed"]) == ["AAPL", "BRK-B", "RR.L", "^GSPC"]
    assert "1 of 2 removed" in world.run("tickers", "remove", "AAPL", "KO").out
    assert active(world) == ["BRK-B", "RR.L", "^GSPC"]
    assert set(world.run("tickers", "list").out.split()) >= {"BRK-B", "RR.L", "^GSPC"}
    world.run("tickers", "add", "AAPL")
    assert "AAPL" in active(world)


def test_a_bad_ticker_is_refused_and_nothing_is_added(world: World) -> None:
    world.run("tickers", "add", "KO")
    result = world.run("tickers", "add", "AAPL", "not/one", code=2)
    assert "not/one" in result.err.lower()
    assert active(world) == ["KO"]


def test_import_reads_a_file_and_names_every_bad_line(world: World) -> None:
    good = world.home / "good.txt"
    good.write_text("# a list\nAAPL\nmsft, KO\n\nBRK-B  # a class share\nAAPL\n")
    world.run("tickers", "import", "good.txt")
    assert active(world) == ["AAPL", "BRK-B", "KO", "MSFT"]
    (world.home / "bad.txt").write_text("GE\n$$$\nIBM\nway-too-long-for-a-ticker\n")
    result = world.run("tickers", "import", "bad.txt", code=2)
    assert "bad.txt:2" in result.err
    assert "$$$" in result.err
    assert "way-too-long" in result.err.lower()
    assert active(world) == ["AAPL", "BRK-B", "KO", "MSFT"]
    assert "gone.txt" in world.run("tickers", "import", "gone.txt", code=2).err


def test_the_configured_list_seeds_but_a_removed_ticker_stays_removed(world: World) -> None:
    (world.home / "config.toml").write_text('[universe]\ntickers = ["AAPL", "MSFT"]\n')
    run = ["run", "--timeframe", "1d", "--json"]
    assert world.run(*run, at=MORNING).json["tickers"]["asked"] == 2
    world.run("tickers", "remove", "MSFT")
    more = "AAPL,MSFT,KO"
    report = world.run(*run, at=MORNING, COLLECTOR_UNIVERSE__TICKERS=more).json
    assert report["tickers"]["asked"] == 2
    assert active(world) == ["AAPL", "KO"]
    assert stored(world, "daily_prices", "MSFT")


def test_a_run_by_file_covers_its_tickers_and_leaves_the_universe_alone(world: World) -> None:
    (world.home / "few.txt").write_text("AAPL\nMSFT # two\nAAPL\n")
    words = ["run", "--timeframe", "1d", "--tickers-file", "few.txt", "--json"]
    assert world.run(*words, at=MORNING).json["tickers"]["stored"] == 2
    assert active(world) == []
    (world.home / "few.txt").write_text("AAPL\n???\n")
    assert "???" in world.run(*words, code=2).err
    (world.home / "few.txt").write_text("# none\n")
    assert "few.txt" in world.run(*words, code=2).err


def test_show_says_where_the_bars_came_from(world: World) -> None:
    world.run("run", "--timeframe", "1d", "--tickers", "AAPL", at=MORNING)
    world.calls()
    cached = world.run("show", "AAPL", "--rows", "3", "--json", at=MORNING).json
    assert cached["source"] == "CACHE"
    assert cached["through"] == "2025-03-04"
    assert cached["bars"]["date"] == ["2025-02-28", "2025-03-03", "2025-03-04"]
    assert cached["bars"]["close"] == [row[4] for row in stored(world, "daily_prices", "AAPL")[-3:]]
    assert datetime.fromisoformat(cached["published_at"])
    text = world.run("show", "AAPL", at=MORNING).out
    assert "CACHE" in text
    assert "2025-03-04" in text
    with world.redis() as client:
        client.flushdb()
    again = world.run("show", "AAPL", "--rows", "3", "--json", at=MORNING).json
    assert again["source"] == "DATABASE"
    assert again["bars"] == cached["bars"]
    assert "DATABASE" in world.run("show", "AAPL", "--timeframe", "1wk").out
    assert world.calls() == []


def test_show_of_a_ticker_that_nobody_stored_is_missing(world: World) -> None:
    world.run("tickers", "add", "KO")
    result = world.run("show", "KO", "--json", code=None)
    assert result.json["source"] == "MISSING"
    assert "bars" not in result.json
    assert "MISSING" in world.run("show", "KO", code=None).out


def test_more_rows_than_a_value_holds_come_from_the_database(world: World) -> None:
    world.run("run", "--timeframe", "1d", "--tickers", "AAPL", at=MORNING)
    shown = world.run("show", "AAPL", "--rows", "700", "--json", at=MORNING).json
    assert shown["source"] == "DATABASE"
    assert shown["rows"] == len(shown["bars"]["close"]) == 700
