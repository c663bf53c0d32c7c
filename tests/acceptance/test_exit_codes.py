"""Every exit code, what is said with it, and how little FMP is asked where it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from collector.simulator.script import Rule
from tests.acceptance.program import KEY, MORNING, World
from tests.simulator.wire import recorded

Alone = Callable[..., World]
RUN = ["run", "--timeframe", "1d"]
NAMED = [*RUN, "--tickers", "AAPL,MSFT,KO,PEP,JPM,IBM,GE,BA"]
NOWHERE = "postgresql://u@127.0.0.1:1/none"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run"], ["--timeframe"]),
        (["run", "--timeframe", "1m"], ["--timeframe", "1h"]),
        ([*RUN, "--tickers", "AAPL,no such"], ["no such"]),
        ([*RUN, "--tickers", "A" * 21], ["A" * 21]),
        (["backfill"], ["TICKER"]),
        (["backfill", "AAPL", "--since", "yesterday"], ["yesterday"]),
        (["fly"], ["fly"]),
        ([], ["COMMAND"]),
    ],
)
def test_a_wrong_command_line_is_exit_2(
    alone: Alone, words: Sequence[str], named: Sequence[str]
) -> None:
    result = alone().run(*words, code=2)
    assert result.out == ""
    assert all(name.lower() in result.err.lower() for name in named), result.err
    assert "Traceback" not in result.err


def test_without_a_key_a_run_says_how_to_get_one(alone: Alone) -> None:
    result = alone(DATABASE_URL=NOWHERE).run(*RUN, code=2)
    assert "FMP_API_KEY" in result.err
    assert "financialmodelingprep.com" in result.err
    assert "--demo" in result.err
    assert result.out == ""


def test_every_wrong_setting_is_named_at_once_with_the_nearest_name(alone: Alone) -> None:
    world = alone(COLLECTOR_FMP__CONCURENCY="3", COLLECTOR_CACHE__LOOKBACK="many", FMP_API_KEY=KEY)
    (world.home / "config.toml").write_text('[fmp]\nhistory_year = 3\n[cache]\nttl_s = "long"\n')
    told = world.run(*RUN, code=2).err
    for wrong in ("COLLECTOR_FMP__CONCURENCY", "COLLECTOR_CACHE__LOOKBACK", "history_year"):
        assert wrong in told
    for right in ("CONCURRENCY", "history_years", "ttl_s", "config.toml"):
        assert right in told
    assert KEY not in told


def test_a_named_config_file_that_is_missing_is_exit_2(alone: Alone) -> None:
    world = alone(FMP_API_KEY=KEY)
    told = world.run(*RUN, "--config", "none.toml", code=2).err
    assert "none.toml" in told
    assert "gone.toml" in world.run(*RUN, code=2, COLLECTOR_CONFIG="gone.toml").err


def test_a_value_and_its_file_twin_are_a_contradiction(alone: Alone) -> None:
    world = alone(FMP_API_KEY=KEY)
    twin = world.home / "key"
    twin.write_text("other-key\n")
    told = world.run(*RUN, code=2, FMP_API_KEY_FILE=str(twin)).err
    assert "FMP_API_KEY_FILE" in told
    assert KEY not in told
    assert "other-key" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("COLLECTOR_FMP__REQUESTS_PER_MINUTE", "none"),
     ("COLLECTOR_CLOCK__STARTS_AT", "2018-02-08T06:00:00-05:00")],
)  # fmt: skip
def test_what_is_for_a_server_on_this_machine_is_refused_for_fmp(
    alone: Alone, name: str, value: str
) -> None:
    told = alone(**{"FMP_API_KEY": KEY, name: value}).run(*NAMED, code=2).err
    assert name in told
    assert "fmp.base_url" in told or "loopback" in told or "this machine" in told


def test_an_empty_universe_is_exit_2_with_the_way_to_fill_it(scene: World) -> None:
    scene.calls()
    told = scene.run(*RUN, "--json", code=2, COLLECTOR_POSTGRES__SCHEMA="nobody")
    assert "collector tickers add" in told.err
    assert "--tickers" in told.err
    assert scene.calls() == []
    assert told.out == ""


def test_all_is_well_is_exit_0_and_one_failure_exit_3(scene: World) -> None:
    assert scene.run(*RUN, "--tickers", "AAPL", at=MORNING).code == 0
    result = scene.run(*RUN, "--tickers", "AAPL,ZZZZ9", at=MORNING, code=3)
    assert "ZZZZ9" in result.out


def test_a_run_in_which_every_ticker_fails_is_exit_4(scene: World) -> None:
    report = scene.run(*RUN, "--tickers", "ZZZZ1,ZZZZ2", "--json", at=MORNING, code=4).json
    assert report["status"] == "failed"
    assert report["tickers"]["failed"] == 2


def test_a_database_that_cannot_be_reached_is_exit_4_within_ten_seconds(alone: Alone) -> None:
    world = alone(FMP_API_KEY=KEY, DATABASE_URL=NOWHERE, ENABLE_SCHEDULER_CACHING="false")
    result = world.run(*RUN, "--tickers", "AAPL", "--json", code=4)
    assert result.seconds < 14  # ten, and what a busy machine takes to start Python
    report = result.json
    assert report["tickers"] == {
        "asked": 1, "stored": 0, "unchanged": 0, "empty": 0, "rejected": 0, "failed": 0,
        "not_attempted": 1,
    }  # fmt: skip
    assert report["problems"][0]["kind"] == "db_unavailable"
    assert "127.0.0.1" in result.err


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "err_401_invalid_or_missing_key.json", "auth"),
        (403, "err_403_account_suspended.json", "auth"),
        (402, "err_402_restricted_endpoint.txt", "plan"),
        (429, "err_429_bandwidth.json", "quota"),
    ],
)
def test_a_refusal_of_key_plan_or_quota_is_exit_5_after_a_few_calls(
    scene: World, status: int, body: str, kind: str
) -> None:
    assert scene.server is not None
    scene.calls()
    scene.server.script(Rule(status=status, body=recorded(body).decode()))
    result = scene.run(*NAMED, "--json", code=5, COLLECTOR_FMP__CONCURRENCY="2",
                       COLLECTOR_POSTGRES__SCHEMA=f"refused_{status}")  # fmt: skip
    scene.server.script()
    report = result.json
    assert 1 <= len(scene.calls()) == report["api"]["calls"] <= 4
    assert {problem["kind"] for problem in report["problems"]} == {kind}
    assert report["tickers"]["failed"] + report["tickers"]["not_attempted"] == 8
    assert report["tickers"]["not_attempted"] >= 5
    kept = f"refused_{status}"
    assert scene.value(f"SELECT refusals FROM {kept}.api_usage") >= 1  # noqa: S608 - ours
    assert scene.value(f"SELECT count(*) FROM {kept}.run_items") == 8  # noqa: S608


def test_a_refusal_stands_above_what_was_stored_before_it(scene: World) -> None:
    assert scene.server is not None
    body = recorded("err_401_invalid_or_missing_key.json").decode()
    scene.server.script(Rule(symbol="JPM", status=401, body=body))
    report = scene.run(*NAMED, "--json", code=5, COLLECTOR_FMP__CONCURRENCY="1",
                       COLLECTOR_POSTGRES__SCHEMA="half").json  # fmt: skip
    scene.server.script()
    assert report["tickers"]["stored"] == 4
    assert report["tickers"]["failed"] == 1
    assert report["tickers"]["not_attempted"] == 3


def test_a_402_for_one_ticker_fails_that_one_alone(scene: World) -> None:
    assert scene.server is not None
    body = recorded("err_402_symbol.txt").decode()
    scene.server.script(Rule(symbol="MSFT", status=402, body=body))
    report = scene.run(*RUN, "--tickers", "AAPL,MSFT,KO", "--json", code=3,
                       COLLECTOR_POSTGRES__SCHEMA="one_402").json  # fmt: skip
    scene.server.script()
    assert report["tickers"]["stored"] == 2
    assert [(p["ticker"], p["kind"]) for p in report["problems"]] == [("MSFT", "plan")]


def test_one_bad_answer_fails_its_ticker_and_no_other(scene: World) -> None:
    assert scene.server is not None
    scene.server.script(
        Rule(symbol="AAPL", status=502, body="<html>Bad Gateway</html>", content_type="text/html"),
        Rule(symbol="MSFT", body='{"Error Message": "Something is wrong"}'),
        Rule(symbol="KO", truncate_to=1000),
        Rule(symbol="PEP", close=True),
    )
    report = scene.run(*NAMED, "--json", code=3, COLLECTOR_POSTGRES__SCHEMA="bad",
                       COLLECTOR_FMP__ATTEMPTS="2").json  # fmt: skip
    scene.server.script()
    kinds = {problem["ticker"]: problem["kind"] for problem in report["problems"]}
    assert sorted(kinds) == ["AAPL", "KO", "MSFT", "PEP"]
    assert kinds["AAPL"] == "server"
    assert kinds["PEP"] == "network"
    assert report["tickers"]["stored"] == 4
    assert report["api"]["retries"] >= 3


def test_a_ticker_whose_rows_are_all_bad_is_rejected(scene: World) -> None:
    assert scene.server is not None
    row = '"open": 5, "high": 4, "low": 3, "close": 4, "volume": 1'
    body = f'[{{"symbol": "KO", "date": "2025-03-04", {row}}}]'
    scene.server.script(Rule(symbol="KO", body=body))
    report = scene.run(*RUN, "--tickers", "AAPL,KO", "--json", at=MORNING, code=3,
                       COLLECTOR_POSTGRES__SCHEMA="rejected").json  # fmt: skip
    scene.server.script()
    assert report["rows"]["rejected"] == report["tickers"]["rejected"] == 1
    (problem,) = report["problems"]
    assert (problem["ticker"], problem["kind"]) == ("KO", "bad_rows")
    assert scene.value("SELECT count(*) FROM rejected.daily_prices WHERE ticker = 'KO'") == 0


def test_a_newer_schema_is_exit_6(world: World) -> None:
    world.run("tickers", "add", "AAPL")
    world.rows("INSERT INTO collector_migrations (version) VALUES (9999)")
    for words in (NAMED, ["show", "AAPL"], ["tickers", "list"]):
        result = world.run(*words, code=6, REDIS_URL="unix:///nowhere.sock")
        assert "postgres.schema" in result.err
        assert "9999" in result.err
    assert world.calls() == []


def test_foreign_tables_of_our_names_are_exit_6(world: World) -> None:
    world.rows("CREATE TABLE daily_prices (anything int)")
    result = world.run(*NAMED, code=6)
    assert "daily_prices" in result.err
    assert "postgres.schema" in result.err
    assert world.rows("SELECT * FROM daily_prices") == []
    assert world.run(*NAMED[:4], "AAPL", COLLECTOR_POSTGRES__SCHEMA="mine").code == 0


def test_a_reading_command_creates_no_table(world: World) -> None:
    for words in (["show", "AAPL"], ["warm"], ["tickers", "list"]):
        result = world.run(*words, code=6)
        assert "collector tickers add" in result.err
        assert "postgres.schema" in result.err
    assert world.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
