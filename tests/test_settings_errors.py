"""What is wrong is said all at once, with source and key, and without a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import UsageError
from collector.settings import FIELDS, load
from collector.settings.names import KNOWN, edits, is_nearly, variable

CANARY = "CANARY9f31c27be4"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, so that no ``config.toml`` is found by chance."""
    monkeypatch.chdir(tmp_path)


def problems(config: str | None = None, **environ: str) -> list[str]:
    """Return the lines of the error; none where all is well."""
    path = None
    if config is not None:
        path = Path("config.toml")
        path.write_text(config)
    try:
        load(path, environ=environ, run_secrets=Path("/none"))
    except UsageError as error:
        return str(error).split("\n")
    return []


def refusal(overrides: dict[str, object], environ: dict[str, str]) -> str:
    """Return the text of the error, empty where all is well. Any other exception is a failure."""
    try:
        load(None, overrides=overrides, environ=environ, run_secrets=Path("/none"))
    except UsageError as error:
        return str(error)
    return ""


def test_all_problems_are_told_at_once_with_their_places() -> None:
    config = (
        "[fmp]\nrequests_per_minut = 3\nconcurrency = true\nhistory_years = 1e3\n"
        '[log]\nlevel = "loud"\n[cach]\nx = 1\n'
    )
    told = problems(config, DATABSE_URL="x", COLLECTOR_FMP__ATTEMPTS="0", FMP_BASE_URL="http://far")
    assert sorted(told) == sorted(
        [
            "environment DATABSE_URL: unknown name, did you mean DATABASE_URL?",
            "config.toml:2 [fmp] requests_per_minut: unknown setting, "
            "did you mean requests_per_minute?",
            "config.toml:7 [cach]: unknown table, did you mean [cache]?",
            "environment FMP_BASE_URL: must be an https:// address (http:// for a loopback host) "
            "(http:// is for a loopback host only)",
            "config.toml:3 [fmp] concurrency: must be a whole number from 1 to 200",
            "config.toml:4 [fmp] history_years: must be a whole number from 1 to 60",
            "environment COLLECTOR_FMP__ATTEMPTS: must be a whole number from 1 to 10",
            'config.toml:6 [log] level: must be "debug", "info", "warning" or "error"',
        ]
    )


def test_a_contradiction_is_told_beside_a_wrong_value() -> None:
    told = problems('[fmp]\nrequests_per_minute = "none"\n[log]\nlevel = "loud"\n')
    assert len(told) == 2
    assert any("requests_per_minute" in line and "loopback" in line for line in told)


def test_a_contradiction_is_not_guessed_where_the_address_is_wrong() -> None:
    told = problems('[fmp]\nrequests_per_minute = "none"\nbase_url = "ftp://x"\n')
    assert len(told) == 1
    assert "base_url" in told[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fmp.concurrency", "true"),
        ("fmp.concurrency", "1e3"),
        ("fmp.concurrency", "0"),
        ("fmp.concurrency", '"8"'),
        ("fmp.timeout_s", "nan"),
        ("fmp.timeout_s", "inf"),
        ("fmp.timeout_s", "0"),
        ("fmp.timeout_s", "true"),
        ("fmp.requests_per_minute", "0"),
        ("fmp.requests_per_minute", "true"),
        ("fmp.requests_per_minute", '"None"'),
        ("fmp.bandwidth_gb", "0.0"),
        ("fmp.bandwidth_gb", "inf"),
        ("fmp.bulk", "true"),
        ("fmp.api_key", '"two words"'),
        ("fmp.api_key", '""'),
        ("fmp.base_url", '"https://u:p@host/x"'),
        ("fmp.base_url", '"https://host/x?apikey=1"'),
        ("fmp.base_url", '"https://host/x#y"'),
        ("fmp.base_url", '"https://"'),
        ("fmp.base_url", '"https://host:99999"'),
        ("fmp.base_url", '"https://ho st"'),
        ("fmp.base_url", '"http://10.0.0.1"'),
        ("fmp.base_url", '"https://[::1"'),
        ("postgres.pool_size", "0"),
        ("postgres.schema", '"Public"'),
        ("postgres.schema", '"pg_own"'),
        ("postgres.schema", '"a;drop"'),
        ("postgres.dsn", '"mysql://x"'),
        ("postgres.dsn", '"host=x dbname=y"'),
        ("postgres.dsn", '"postgresql://u@h:port/d"'),
        ("redis.url", '"http://x"'),
        ("redis.url", '"redis://"'),
        ("redis.url", '"redis://h/name"'),
        ("redis.url", '"unix://"'),
        ("redis.pool_size", "0"),
        ("cache.enabled", "1"),
        ("cache.lookback", "5001"),
        ("cache.ttl_s", '{ "1h" = 0, "1d" = 1, "1wk" = 1 }'),
        ("cache.ttl_s", '{ "1h" = true, "1d" = 1, "1wk" = 1 }'),
        ("cache.ttl_s", '{ "1h" = 1, "1d" = 1 }'),
        ("cache.ttl_s", '{ "1h" = 1, "1d" = 1, "1wk" = 1, "1m" = 1 }'),
        ("cache.ttl_s", "300"),
        ("cache.key_prefix", '""'),
        ("cache.key_prefix", '"a*{b}"'),
        ("universe.tickers", '"AAPL"'),
        ("universe.tickers", '["AAPL", "A; DROP"]'),
        ("universe.tickers", "[1]"),
        ("schedule.timezone", '"Mars/Base"'),
        ("schedule.timezone", '"../../etc/passwd"'),
        ("schedule.timezone", '"America"'),
        ("schedule.timezone", '""'),
        ("schedule.exchange", '"X NYS"'),
        ("schedule.daily_at", '["6:00"]'),
        ("schedule.daily_at", '["24:00"]'),
        ("schedule.daily_at", '["06:00", "06:00"]'),
        ("schedule.daily_at", "[]"),
        ("schedule.daily_at", "[06:00:00]"),
        ("schedule.weekly_delay_s", "-1"),
        ("daemon.listen", '"9108"'),
        ("daemon.listen", '":9108"'),
        ("daemon.listen", '"host:99999"'),
        ("daemon.listen", '"999.1.1.1:1"'),
        ("daemon.listen", '"::1:80"'),
        ("daemon.listen", '"[host]:80"'),
        ("web.listen", '"http://x:1"'),
        ("log.level", '"loud"'),
        ("log.format", '"xml"'),
        ("engines.data_dir", '""'),
        ("engines.data_dir", '"a\\u0000b"'),
        ("clock.starts_at", '"2018-02-08T06:00:00"'),
        ("clock.starts_at", '"yesterday"'),
        ("clock.starts_at", "0001-01-01T00:00:00+14:00"),
        ("clock.starts_at", "5"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(key: str, value: str) -> None:
    section, _, name = key.partition(".")
    told = problems(f"[{section}]\n{name} = {value}\n")
    assert len(told) == 1
    allowed = FIELDS[key].description
    assert told[0].startswith(f"config.toml:2 [{section}] {name}: must be {allowed}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fmp.base_url", "https://10.1.2.3:8443/x"),
        ("fmp.base_url", "http://[::1]:1/stable"),
        ("postgres.dsn", "postgres:///market?host=/run/postgresql"),
        ("postgres.dsn", "postgresql://u:p@a:1,b:2/market"),
        ("redis.url", "unix:///run/redis.sock?db=1"),
        ("redis.url", "redis://[::1]:6379"),
        ("daemon.listen", "[::1]:0"),
        ("daemon.listen", "0.0.0.0:80"),
        ("cache.key_prefix", "a.b-c_d:"),
        ("schedule.exchange", "24/7"),
        ("schedule.timezone", "UTC"),
    ],
)
def test_an_unusual_value_is_accepted(key: str, value: str) -> None:
    assert problems(**{variable(key): value}) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("COLLECTOR_FMP__CONCURRENCY", "1e1"),
        ("COLLECTOR_FMP__CONCURRENCY", "9" * 5000),
        ("COLLECTOR_FMP__CONCURRENCY", "٣"),
        ("COLLECTOR_FMP__TIMEOUT_S", "nan"),
        ("COLLECTOR_FMP__TIMEOUT_S", "1_0"),
        ("COLLECTOR_CACHE__TTL_S", "300"),
        ("COLLECTOR_CACHE__TTL_S", "{"),
        ("COLLECTOR_CACHE__TTL_S", "[" * 100_000),
        ("COLLECTOR_UNIVERSE__TICKERS", "[AAPL]"),
        ("ENABLE_SCHEDULER_CACHING", "maybe"),
        ("FMP_API_KEY", "\udcff"),
        ("REDIS_HOST", "redis://cache"),
    ],
)
def test_text_that_does_not_fit_is_refused(name: str, text: str) -> None:
    told = problems(**{name: text})
    assert len(told) == 1
    assert told[0].startswith(f"environment {name}: must be ")


def test_a_port_without_a_host_is_refused() -> None:
    assert problems(REDIS_PORT="6379") == ["environment REDIS_PORT: set without REDIS_HOST"]
    assert "65535" in problems(REDIS_HOST="h", REDIS_PORT="0")[0]


def test_two_names_that_differ_are_refused() -> None:
    told = problems(FMP_API_KEY="one", COLLECTOR_FMP__API_KEY="two")
    assert told == [
        "environment FMP_API_KEY and COLLECTOR_FMP__API_KEY: set together and different, keep one"
    ]


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(UsageError, match=r"command line fmp\.concurency: .*fmp\.concurrency"):
        load(None, overrides={"fmp.concurency": 1, "zzzzzz": 2}, environ={})


class TestNearlyKnownNames:
    """A lost or mistyped variable must not fill the wrong database."""

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("DATBASE_ULR", "DATABASE_URL"),
            ("DATABASEURL", "DATABASE_URL"),
            ("database_url", "DATABASE_URL"),
            ("FMP_APIKEY", "FMP_API_KEY"),
            ("FMP_API_KYE", "FMP_API_KEY"),
            ("FMP_API_KEY_FIEL", "FMP_API_KEY_FILE"),
            ("REDIS_ULR", "REDIS_URL"),
            ("REDS_HOST", "REDIS_HOST"),
            ("ENABLE_SHEDULER_CACHING", "ENABLE_SCHEDULER_CACHING"),
            ("COLLECTOR_FMP__CONCURENCY", "COLLECTOR_FMP__CONCURRENCY"),
            ("COLLECTOR_FMP_API_KEY", "COLLECTOR_FMP__API_KEY"),
            ("COLLECTOR_CONFG", "COLLECTOR_CONFIG"),
            ("collector_log__level", "COLLECTOR_LOG__LEVEL"),
            ("COLECTOR_CONFIG", "COLLECTOR_CONFIG"),
            ("COLLECTR_FMP__API_KEY", "COLLECTOR_FMP__API_KEY"),
        ],
    )
    def test_a_slip_is_an_error_that_names_the_right_one(
        self, name: str, meant: str | None
    ) -> None:
        expected = [f"environment {name}: unknown name, did you mean {meant}?"] if meant else []
        assert problems(**{name: "x"}) == expected

    @pytest.mark.parametrize(
        "name",
        [
            "DATABASE_URL_TEST",
            "DATABASE_URL2",
            "FMP_API_KEY_OLD",
            "REDIS_PORT_6379_TCP",
            "REDIS_SERVICE_HOST",
            "REDIS_SSL",
            "REDIS_TTL",
            "REDIS_CERT",
            "REDIS_PASSWORD",
            "DATABASE_DSN",
            "PATH",
            "COLLECTORS",
        ],
    )
    def test_another_name_belongs_to_somebody_else(self, name: str) -> None:
        assert problems(**{name: "x"}) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("COLLECTOR_SERVICE_HOST", "10.0.0.1"),
            ("COLLECTOR_SERVICE_PORT_METRICS", "9108"),
            ("COLLECTOR_PORT", "tcp://10.0.0.1:9108"),
            ("COLLECTOR_PORT_9108_TCP", "tcp://10.0.0.1:9108"),
            ("COLLECTOR_WEB_PORT_8080_TCP_PORT", "8080"),
            ("COLLECTOR_WEB_SERVICE_PORT", "8080"),
        ],
    )
    def test_what_an_orchestrator_writes_is_no_error(self, name: str, value: str) -> None:
        assert problems(**{name: value}) == []

    def test_a_name_of_ours_that_means_nothing_is_an_error(self) -> None:
        assert problems(COLLECTOR_PORT="9108") != []
        assert problems(COLLECTOR_QQQQQQQQ="x") == ["environment COLLECTOR_QQQQQQQQ: unknown name"]

    def test_a_name_is_escaped_and_cut(self) -> None:
        (told,) = problems(**{"COLLECTOR_\n\x1b[31m" + "é" * 500: "x"})
        assert told.startswith("environment COLLECTOR_\\n\\x1b[31m\\xe9")
        assert told.isprintable()
        assert len(told) < 200

    @pytest.mark.parametrize(
        ("one", "other", "count"),
        [
            ("URL", "URL", 0),
            ("ULR", "URL", 1),
            ("UR", "URL", 1),
            ("USL", "URL", 1),
            ("A", "URL", 3),
        ],
    )
    def test_edits_are_counted(self, one: str, other: str, count: int) -> None:
        assert edits(one, other, 2) == count
        assert edits(other, one, 2) == count

    def test_no_known_name_is_nearly_another(self) -> None:
        near = [(a, b) for a in KNOWN for b in KNOWN if is_nearly(a, b)]
        assert {frozenset(pair) for pair in near} <= {frozenset({"REDIS_HOST", "REDIS_PORT"})}


leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just(CANARY),
    st.just(f"postgresql://u:{CANARY}@h:x/d"),
    st.just(f"https://{CANARY}@h"),
)
values = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
toml_values = st.one_of(
    st.integers(),
    st.sampled_from(["nan", "true", "[1, 'x']", "{}", "06:00:00", "1979-05-27", f"'{CANARY}'"]),
    st.just(f'"postgresql://u:{CANARY}@h:x/d"'),
    st.text("[]{}\"'=,.#ax1\n", max_size=6),
)
tomls = st.lists(
    st.tuples(st.sampled_from(sorted(FIELDS)), toml_values).map(
        lambda entry: f"{entry[0]} = {entry[1]}"
    ),
    max_size=4,
).map("\n".join)
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from([CANARY, f"[{CANARY}]", f'{{"1h": "{CANARY}"}}', f"redis://:{CANARY}@:h"]),
    st.from_regex(r"[\[{\"0-9.eE+,:-]{0,12}"),
)


@settings(max_examples=300, deadline=None)
@given(environ=st.dictionaries(st.sampled_from(sorted(KNOWN - {"COLLECTOR_CONFIG"})), texts))
def test_any_environment_loads_or_is_refused_without_its_values(environ: dict[str, str]) -> None:
    assert CANARY not in refusal({}, environ)


@settings(max_examples=300, deadline=None)
@given(overrides=st.dictionaries(st.sampled_from(sorted(FIELDS)), values))
def test_any_value_of_any_type_loads_or_is_refused(overrides: dict[str, object]) -> None:
    assert CANARY not in refusal(overrides, {})


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=30), value=st.text(max_size=5))
def test_any_environment_name_is_passed_over_or_refused(name: str, value: str) -> None:
    told = refusal({}, {name: value, f"COLLECTOR_{name}": value})
    assert all(line.isprintable() for line in told.split("\n"))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=tomls)
def test_any_file_loads_or_is_refused_without_its_values(text: str) -> None:
    assert not any(CANARY in line for line in problems(text))
