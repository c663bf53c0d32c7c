"""What the settings are when all is well: defaults, the order of the layers, types from text."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from collector.errors import UsageError
from collector.settings import Settings, data_dir, load, secrets
from collector.settings.model import Cache, Fmp

Write = Callable[[str], Path]
KEY, DSN = "KEY-9f31c2", "postgresql://ann:pw-77aa@db:5432/market"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, so that no ``config.toml`` is found by chance."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a config file and return its path."""

    def write_config(text: str) -> Path:
        path = tmp_path / "told.toml"
        path.write_text(text)
        return path

    return write_config


def read(
    config: Path | None = None, /, *, run_secrets: Path | str = "/none", **environ: str
) -> Settings:
    return load(config, environ=environ, run_secrets=Path(run_secrets))


def test_nothing_said_gives_the_defaults() -> None:
    assert read() == Settings()


def test_the_defaults_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", '{"level": "debug"}')
    monkeypatch.setenv("COLLECTOR_LOG__LEVEL", "debug")
    assert Settings().log.level == "info"


def test_the_defaults_are_those_of_the_contract() -> None:
    told = Settings()
    assert (told.fmp.requests_per_minute, told.fmp.history_years, told.fmp.bulk) == (
        300,
        11,
        "auto",
    )
    assert told.fmp.base_url == "https://financialmodelingprep.com/stable"
    assert told.cache.ttl_s == {"1h": 300, "1d": 3600, "1wk": 7200}
    assert (told.cache.key_prefix, told.cache.publish) == ("scanner:", "together")
    assert (told.cache.enabled, told.cache.lookback) == (True, 500)
    assert (told.postgres.schema_name, told.postgres.dsn, told.redis.url) == ("public", None, None)
    assert (told.schedule.exchange, told.schedule.timezone) == ("XNYS", "America/New_York")
    assert (told.schedule.daily_at, told.schedule.hourly, told.schedule.weekly) == (
        ("06:00",),
        True,
        True,
    )
    assert (told.daemon.listen, told.web.listen) == ("127.0.0.1:9108", "127.0.0.1:8080")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().fmp.concurrency = 3
    with pytest.raises(ValidationError):
        Settings().cache = Cache()


def test_each_layer_wins_over_the_next(write: Write, tmp_path: Path) -> None:
    placed = tmp_path / "redis_url"
    placed.write_text("redis://placed:1/0\n")
    config = write(
        '[redis]\nurl = "redis://file:1/0"\n[fmp]\nconcurrency = 3\nattempts = 3\n'
        "history_years = 3\n"
    )
    told = load(
        config,
        overrides={"fmp.concurrency": 1, "fmp.timeout_s": None},
        environ={"COLLECTOR_FMP__CONCURRENCY": "2", "COLLECTOR_FMP__ATTEMPTS": "2"},
        run_secrets=tmp_path,
    )
    assert (told.fmp.concurrency, told.fmp.attempts, told.fmp.history_years) == (1, 2, 3)
    assert told.fmp.timeout_s == 30.0
    assert told.redis.url == SecretStr("redis://placed:1/0")


def test_the_environment_wins_over_a_placed_secret(tmp_path: Path) -> None:
    (tmp_path / "redis_url").write_text("redis://placed:1/0")
    told = read(run_secrets=tmp_path, REDIS_URL="redis://told:1/0")
    assert told.redis.url == SecretStr("redis://told:1/0")


def test_a_table_is_taken_whole_and_not_mixed(write: Write) -> None:
    config = write('[cache]\nttl_s = { "1h" = 1, "1d" = 2, "1wk" = 3 }\n')
    assert read(config).cache.ttl_s == {"1h": 1, "1d": 2, "1wk": 3}
    with pytest.raises(UsageError, match="COLLECTOR_CACHE__TTL_S: must be a table"):
        read(config, COLLECTOR_CACHE__TTL_S='{"1d": 60}')


def test_an_override_may_be_text() -> None:
    told = load(None, overrides={"universe.tickers": "aapl, msft"}, environ={})
    assert told.universe.tickers == ("AAPL", "MSFT")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("FMP_API_KEY", "api_key"),
        ("COLLECTOR_FMP__API_KEY", "api_key"),
    ],
)
def test_the_key_has_two_names(name: str, key: str) -> None:
    assert getattr(read(**{name: KEY}).fmp, key) == SecretStr(KEY)


def test_the_conventional_names_are_understood(tmp_path: Path) -> None:
    told = read(
        FMP_API_KEY=KEY,
        FMP_BASE_URL="http://127.0.0.1:8800/stable/",
        DATABASE_URL=DSN,
        REDIS_URL="rediss://:pw@cache:6380/2",
        ENABLE_SCHEDULER_CACHING="false",
        COLLECTOR_DATA_DIR=str(tmp_path),
    )
    assert told.fmp.base_url == "http://127.0.0.1:8800/stable"
    assert told.fmp.is_loopback
    assert told.postgres.dsn == SecretStr(DSN)
    assert told.redis.url == SecretStr("rediss://:pw@cache:6380/2")
    assert not told.cache.enabled
    assert data_dir(told, {}) == tmp_path


def test_two_names_that_agree_are_fine() -> None:
    told = read(FMP_API_KEY=KEY, COLLECTOR_FMP__API_KEY=KEY)
    assert told.fmp.api_key == SecretStr(KEY)


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False", " NO "])
def test_a_switch_is_turned_off_by_several_words(text: str) -> None:
    assert not read(COLLECTOR_LOG__PER_TICKER=text).log.per_ticker


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE"])
def test_a_switch_is_turned_on_by_several_words(text: str) -> None:
    assert read(COLLECTOR_LOG__PER_TICKER=text).log.per_ticker


@pytest.mark.parametrize(
    "text", ["AAPL,MSFT", "aapl , msft,", '["AAPL", "msft"]', "AAPL,MSFT,aapl"]
)
def test_a_list_is_json_or_comma_separated(text: str) -> None:
    assert read(COLLECTOR_UNIVERSE__TICKERS=text).universe.tickers == ("AAPL", "MSFT")


def test_numbers_and_tables_are_read_from_text() -> None:
    told = read(
        COLLECTOR_FMP__CONCURRENCY="7",
        COLLECTOR_FMP__TIMEOUT_S="2.5",
        COLLECTOR_FMP__BANDWIDTH_GB="2e1",
        COLLECTOR_REDIS__TIMEOUT_S="2",
        COLLECTOR_CACHE__TTL_S='{"1h": 1, "1d": 2, "1wk": 3}',
        COLLECTOR_SCHEDULE__DAILY_AT="06:00,18:30",
        COLLECTOR_LOG__LEVEL="DEBUG",
    )
    assert (told.fmp.concurrency, told.fmp.timeout_s, told.fmp.bandwidth_gb) == (7, 2.5, 20.0)
    assert told.redis.timeout_s == 2.0
    assert told.cache.ttl_s == {"1h": 1, "1d": 2, "1wk": 3}
    assert told.schedule.daily_at == ("06:00", "18:30")
    assert told.log.level == "debug"


def test_a_whole_number_may_stand_for_a_number_in_the_file(write: Write) -> None:
    assert read(write("[fmp]\ntimeout_s = 5\n")).fmp.timeout_s == 5.0


def test_none_is_no_limit_on_this_machine_only() -> None:
    name = "COLLECTOR_FMP__REQUESTS_PER_MINUTE"
    told = read(FMP_BASE_URL="http://localhost:1", **{name: "none"})
    assert told.fmp.requests_per_minute is None
    with pytest.raises(UsageError, match=f"{name}: .*loopback"):
        read(**{name: "none"})


@pytest.mark.parametrize("text", ["2018-02-08T06:00:00-05:00", "2018-02-08T11:00:00Z"])
def test_the_clock_starts_at_an_instant_for_replays(text: str) -> None:
    told = read(FMP_BASE_URL="http://[::1]:1", COLLECTOR_CLOCK__STARTS_AT=text)
    assert told.clock.starts_at == datetime(2018, 2, 8, 11, tzinfo=UTC)


def test_the_clock_of_the_real_api_cannot_be_set(write: Write) -> None:
    config = write("[clock]\nstarts_at = 2018-02-08T06:00:00-05:00\n")
    with pytest.raises(UsageError, match=r"told\.toml:2 \[clock\] starts_at: .*loopback"):
        read(config)


def test_the_file_may_hold_an_instant_of_toml(write: Write) -> None:
    config = write("[clock]\nstarts_at = 2018-02-08T06:00:00-05:00\n")
    told = read(config, FMP_BASE_URL="http://127.0.0.2:1")
    assert told.clock.starts_at == datetime(2018, 2, 8, 11, tzinfo=UTC)


def test_redis_host_and_port_make_a_url() -> None:
    assert read(REDIS_HOST="cache").redis.url == SecretStr("redis://cache:6379/0")
    assert read(REDIS_HOST="::1", REDIS_PORT="7").redis.url == SecretStr("redis://[::1]:7/0")


def test_the_port_of_an_orchestrators_link_is_understood() -> None:
    link = "tcp://10.0.0.7:6380"
    assert read(REDIS_HOST="cache", REDIS_PORT=link).redis.url == SecretStr("redis://cache:6380/0")
    assert read(REDIS_PORT=link).redis.url is None


@pytest.mark.parametrize("name", ["REDIS_URL", "COLLECTOR_REDIS__URL"])
def test_the_redis_url_wins_over_the_host_and_says_so(name: str) -> None:
    told = read(**{name: "redis://told:1/0"}, REDIS_HOST="cache", REDIS_PORT="2")
    assert told.redis.url == SecretStr("redis://told:1/0")
    assert told.notes == (f"environment {name} wins over REDIS_HOST and REDIS_PORT",)


def test_redis_host_wins_over_the_file(write: Write) -> None:
    config = write('[redis]\nurl = "redis://file:1/0"\n')
    assert read(config, REDIS_HOST="cache").redis.url == SecretStr("redis://cache:6379/0")


def test_an_empty_variable_is_not_set_and_told() -> None:
    told = read(DATABASE_URL="", FMP_API_KEY=" ", COLLECTOR_FMP__API_KEY=KEY)
    assert told.postgres.dsn is None
    assert told.fmp.api_key == SecretStr(KEY)
    assert told.notes == (
        "DATABASE_URL: empty, so read as not set",
        "FMP_API_KEY: empty, so read as not set",
    )


def test_secrets_are_the_key_the_urls_and_their_passwords() -> None:
    told = read(FMP_API_KEY=KEY, DATABASE_URL="postgres://u:p%40ss@h/d", REDIS_URL="redis://h")
    assert secrets(told) == (
        KEY,
        "postgres://u:p%40ss@h/d",
        "redis://h",
        "p%40ss",
        "p@ss",
    )
    assert secrets(Settings()) == ()


def test_a_key_that_looks_like_a_broken_url_is_still_a_secret() -> None:
    assert secrets(Settings(fmp=Fmp(api_key=SecretStr("http://[x")))) == ("http://[x",)


def test_a_setting_may_be_the_schema_by_its_own_name(write: Write) -> None:
    assert read(write('[postgres]\nschema = "prices"\n')).postgres.schema_name == "prices"


class TestDataDir:
    """Where the embedded engines live."""

    def test_a_path_is_made_absolute(self, nowhere: Path) -> None:
        assert data_dir(read(COLLECTOR_DATA_DIR="d/e"), {}) == nowhere / "d/e"

    def test_a_tilde_is_the_home(self) -> None:
        assert data_dir(read(COLLECTOR_DATA_DIR="~/d"), {"HOME": "/h"}) == Path("/h/d")
        assert data_dir(read(COLLECTOR_DATA_DIR="~"), {"HOME": "/h"}) == Path("/h")

    def test_root_has_a_place_of_the_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert data_dir(Settings(), {"HOME": "/h"}) == Path("/var/lib/collector")

    def test_a_user_has_a_place_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert data_dir(Settings(), {"HOME": "/h"}) == Path("/h/.local/share/collector")
        shared = {"HOME": "/h", "XDG_DATA_HOME": "/x"}
        assert data_dir(Settings(), shared) == Path("/x/collector")
        assert data_dir(Settings(), {"HOME": "/h", "XDG_DATA_HOME": "x"}).is_relative_to("/h")

    def test_without_a_home_the_user_must_say(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_home() -> Path:
            raise RuntimeError

        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(Path, "home", no_home)
        with pytest.raises(UsageError, match="set COLLECTOR_DATA_DIR"):
            data_dir(Settings(), {})
