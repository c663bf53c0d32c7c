"""The config file, the files with secrets, and what the pages say of both."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from collector.errors import UsageError
from collector.settings import FIELDS, Settings, load
from collector.settings.config_file import find
from collector.settings.names import KNOWN, variable

CANARY = "CANARY9f31c27be4"
ROOT = Path(__file__).parent.parent
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, so that no ``config.toml`` is found by chance."""
    monkeypatch.chdir(tmp_path)


def read(
    config: Path | None = None, /, *, run_secrets: Path | str = "/none", **environ: str
) -> Settings:
    return load(config, environ=environ, run_secrets=Path(run_secrets))


def refusal(
    config: Path | None = None, /, *, run_secrets: Path | str = "/none", **environ: str
) -> str:
    with pytest.raises(UsageError) as caught:
        read(config, run_secrets=run_secrets, **environ)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def secret_file(content: bytes | str = CANARY, mode: int = 0o600, name: str = "secret") -> Path:
    path = Path(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


class TestConfigFile:
    """Which file is read, and what is wrong with it."""

    def test_the_named_file_wins_then_the_variable_then_the_directory(self) -> None:
        assert find(None, {}) is None
        Path("config.toml").touch()
        assert find(None, {}) == Path("config.toml")
        assert find(None, {"COLLECTOR_CONFIG": ""}) == Path("config.toml")
        assert find(None, {"COLLECTOR_CONFIG": "/b.toml"}) == Path("/b.toml")
        assert find(Path("a.toml"), {"COLLECTOR_CONFIG": "/b.toml"}) == Path("a.toml")

    def test_the_file_in_the_working_directory_is_read(self) -> None:
        Path("config.toml").write_text("[fmp]\nconcurrency = 3\n")
        assert read().fmp.concurrency == 3

    def test_a_named_file_that_is_missing_is_an_error(self) -> None:
        missing = "a.toml: cannot be read (No such file or directory)"
        assert refusal(Path("a.toml")) == missing
        assert refusal(COLLECTOR_CONFIG="a.toml") == missing

    def test_a_dangling_link_in_the_working_directory_is_an_error(self) -> None:
        Path("config.toml").symlink_to("gone.toml")
        assert "cannot be read" in refusal()

    def test_a_directory_is_an_error(self) -> None:
        Path("config.toml").mkdir()
        assert refusal() == "config.toml: is a directory"

    def test_a_pipe_is_refused_at_once(self) -> None:
        os.mkfifo("pipe")
        assert refusal(Path("pipe")) == "pipe: is not a regular file"

    def test_a_path_with_a_zero_byte_is_refused(self) -> None:
        assert refusal(Path("a\0b")) == "a\\x00b: is not a path"

    def test_the_null_device_says_nothing(self) -> None:
        assert read(Path("/dev/null")) == Settings()

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        path = secret_file(b"\xef\xbb\xbf[fmp]\nconcurrency = 3\n")
        assert read(path).fmp.concurrency == 3

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            (f'[fmp]\napi_key = "{CANARY}\n', r"c\.toml:2:\d+: Illegal character '\\n'"),
            (f"[fmp]\napi_key = {CANARY}\n", r"c\.toml:2:11: Invalid value"),
            ("[fmp]\na = 1\na = 2\n", r"c\.toml:3:\d+: Cannot overwrite a value"),
            ("[fmp", r"c\.toml: Expected"),
            ("x = " + "[" * 100_000, r"c\.toml: is not valid TOML"),
            ("x = " + "9" * 5000, r"c\.toml: is not valid TOML"),
        ],
    )
    def test_bad_toml_is_told_with_line_and_column(self, text: str, where: str) -> None:
        path = secret_file(text, name="c.toml")
        assert re.match(where, refusal(path))

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        assert refusal(secret_file(b"\xff\xfe", name="c.toml")) == "c.toml: is not UTF-8 text"

    def test_a_huge_file_is_refused(self) -> None:
        path = secret_file(b"#" * (1024 * 1024 + 1), name="c.toml")
        assert refusal(path) == "c.toml: is larger than 1024 KiB"

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("concurrency = 3", "c.toml:1 [concurrency]: unknown table, did you mean [fmp] conc"),
            ("fmp = 3", "c.toml:1 [fmp]: must be a table [fmp]"),
            ("fmp.concurency = 3", "c.toml:1 [fmp] concurency: unknown setting, did you mean conc"),
            ("[log]\nlookback = 3", "c.toml:2 [log] lookback: unknown setting, did you mean [cach"),
            ("[log]\nzzzzzz = 3", "c.toml:2 [log] zzzzzz: unknown setting"),
            ("[zzzzzz]", "c.toml:1 [zzzzzz]: unknown table"),
            ("[notes]\nx = 1", "c.toml:1 [notes]: unknown table"),
            ('[fmp]\n"a\\nb" = 3', "c.toml:1 [fmp] a\\nb: unknown setting"),
            ("[fmp]\nconcurrency.x = 1", "c.toml:1 [fmp] concurrency: must be a whole number"),
            ("[postgres]\nschema_name = 'x'", "c.toml:2 [postgres] schema_name: unknown setting"),
        ],
    )
    def test_an_unknown_name_is_told_with_its_line_and_the_nearest(
        self, text: str, told: str
    ) -> None:
        assert refusal(secret_file(text, name="c.toml")).startswith(told)

    def test_a_secret_that_others_may_read_is_remarked(self) -> None:
        text = f'[fmp]\napi_key = "{CANARY}"\n'
        assert read(secret_file(text)).notes == ()
        (note,) = read(secret_file(text, mode=0o644)).notes
        assert note == "secret: holds a secret and others may read it; chmod 600 it"


class TestSecretFiles:
    """Files that hold one secret each."""

    @pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n", f"\ufeff {CANARY}\r\n\n"])
    @pytest.mark.parametrize("name", ["FMP_API_KEY_FILE", "COLLECTOR_FMP__API_KEY_FILE"])
    def test_a_named_file_is_read_without_white_space(self, name: str, content: str) -> None:
        told = read(**{name: str(secret_file(content))})
        assert told.fmp.api_key is not None
        assert told.fmp.api_key.get_secret_value() == CANARY
        assert told.notes == ()

    def test_all_three_secrets_have_their_file(self) -> None:
        dsn, url = secret_file("postgres://h/d", name="d"), secret_file("redis://h", name="r")
        told = read(COLLECTOR_POSTGRES__DSN_FILE=str(dsn), REDIS_URL_FILE=str(url))
        assert told.postgres.dsn is not None
        assert told.redis.url is not None

    def test_a_file_for_the_redis_url_wins_over_the_host(self) -> None:
        url = secret_file("redis://h")
        told = read(REDIS_URL_FILE=str(url), REDIS_HOST="cache")
        assert told.redis.url is not None
        assert told.redis.url.get_secret_value() == "redis://h"
        assert "REDIS_URL_FILE wins" in told.notes[0]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty"),
            (b" \n", "is empty"),
            (b"\xff\xfe", "is not UTF-8 text"),
            (b"x" * (64 * 1024 + 1), "is larger than 64 KiB"),
        ],
    )
    def test_a_useless_file_is_refused(self, content: bytes, reason: str) -> None:
        told = refusal(FMP_API_KEY_FILE=str(secret_file(content)))
        assert told == f"environment FMP_API_KEY_FILE: the file that it names {reason}"

    def test_a_directory_or_a_pipe_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo("pipe")
        assert refusal(FMP_API_KEY_FILE=str(tmp_path)).endswith("is a directory")
        assert refusal(FMP_API_KEY_FILE="pipe").endswith("is not a regular file")

    def test_a_secret_put_into_the_file_variable_is_not_repeated(self) -> None:
        assert "cannot be read" in refusal(FMP_API_KEY_FILE=CANARY)
        assert "cannot be read" in refusal(DATABASE_URL_FILE=f"postgres://u:{CANARY}@h/d")

    def test_a_secret_of_two_lines_is_refused_without_its_text(self) -> None:
        told = refusal(FMP_API_KEY_FILE=str(secret_file(f"{CANARY}\n{CANARY}")))
        assert told.startswith("environment FMP_API_KEY_FILE: the file that it names: must be")

    def test_a_value_and_its_file_are_refused_by_name(self) -> None:
        told = refusal(FMP_API_KEY=CANARY, COLLECTOR_FMP__API_KEY_FILE=str(secret_file()))
        assert told == (
            "environment FMP_API_KEY and COLLECTOR_FMP__API_KEY_FILE: set together, keep one"
        )

    def test_two_files_for_one_secret_are_refused(self) -> None:
        two = {"FMP_API_KEY_FILE": "/a", "COLLECTOR_FMP__API_KEY_FILE": "/b"}
        assert "FMP_API_KEY_FILE and COLLECTOR_FMP__API_KEY_FILE" in refusal(**two)

    def test_a_file_that_others_may_read_is_remarked(self) -> None:
        told = read(FMP_API_KEY_FILE=str(secret_file(mode=0o640)))
        assert told.notes == (
            "environment FMP_API_KEY_FILE: others may read the file that it names; chmod 600 it",
        )

    def test_placed_files_are_read_systemds_first(self, tmp_path: Path) -> None:
        for directory in ("credentials", "run"):
            (tmp_path / directory).mkdir()
            secret_file("key-" + directory, 0o644, f"{directory}/fmp_api_key")
        secret_file("redis://run", 0o644, "run/redis_url")
        secret_file("postgres://credentials/d", 0o644, "credentials/pg_dsn")
        told = read(run_secrets=tmp_path / "run", CREDENTIALS_DIRECTORY="credentials")
        given = (told.fmp.api_key, told.redis.url, told.postgres.dsn)
        texts = [each.get_secret_value() for each in given if each]
        assert texts == ["key-credentials", "redis://run", "postgres://credentials/d"]
        assert told.notes == ()

    def test_a_named_file_wins_over_a_placed_one(self, tmp_path: Path) -> None:
        secret_file("", name="fmp_api_key")
        told = read(run_secrets=tmp_path, FMP_API_KEY_FILE=str(secret_file()))
        assert told.fmp.api_key is not None

    def test_a_useless_placed_file_is_refused_by_its_path(self, tmp_path: Path) -> None:
        secret_file("", name="fmp_api_key")
        assert refusal(run_secrets=tmp_path) == f"{tmp_path}/fmp_api_key: is empty"

    def test_two_placed_names_for_one_secret_are_refused(self, tmp_path: Path) -> None:
        for name in ("pg_dsn", "database_url"):
            secret_file("postgres://h/d", name=name)
        assert "both hold postgres.dsn" in refusal(run_secrets=tmp_path)

    @as_user
    def test_a_directory_that_is_closed_to_us_holds_nothing(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0)
        assert read(run_secrets=closed) == Settings()

    def test_a_directory_of_no_valid_name_holds_nothing(self) -> None:
        assert read(CREDENTIALS_DIRECTORY="/a\0b") == Settings()


class TestSecretsStayHidden:
    """No secret in what the settings, their errors or the library print."""

    def test_no_secret_in_the_settings_as_text(self) -> None:
        told = read(
            FMP_API_KEY=CANARY,
            DATABASE_URL=f"postgres://u:{CANARY}@h/d",
            REDIS_URL=f"redis://:{CANARY}@h",
        )
        assert CANARY not in f"{told!r} {told} {told.model_dump()} {told.model_dump_json()}"

    @pytest.mark.parametrize(
        "environ",
        [
            {"DATABASE_URL": f"mysql://u:{CANARY}@h"},
            {"DATABASE_URL": f"postgres://u:{CANARY}@h:x"},
            {"REDIS_URL": f"redis://:{CANARY}@"},
            {"FMP_BASE_URL": f"https://{CANARY}@h"},
            {"FMP_API_KEY": f"{CANARY} {CANARY}"},
            {"FMP_API_KEY": CANARY, "COLLECTOR_LOG__LEVEL": "loud"},
            {"COLLECTOR_CACHE__TTL_S": f'{{"1h": "{CANARY}"}}'},
            {"COLLECTOR_UNIVERSE__TICKERS": f"{CANARY}{CANARY}"},
        ],
    )
    def test_no_secret_in_a_refusal(self, environ: dict[str, str]) -> None:
        assert refusal(**environ)

    def test_a_refusal_has_no_cause_that_a_traceback_would_print(self) -> None:
        with pytest.raises(UsageError) as caught:
            read(FMP_API_KEY=f"{CANARY} x")
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_the_librarys_debug_log_holds_no_secret(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
        with caplog.at_level(logging.DEBUG, "pydantic_settings"):
            read(secret_file(f'[fmp]\napi_key = "{CANARY}"\n'))
        assert "LayerSource: {'fmp': {'api_key': SecretStr" in caplog.text
        assert CANARY not in caplog.text


class TestPages:
    """Every setting is in the shipped file and in the documentation."""

    def test_the_shipped_file_gives_exactly_the_defaults(self) -> None:
        assert read(ROOT / "config.toml") == Settings()

    def test_the_shipped_file_lists_every_setting(self) -> None:
        text = (ROOT / "config.toml").read_text()
        tables = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)
        listed = {
            f"{section}.{name}"
            for section, body in zip(tables[1::2], tables[2::2], strict=True)
            for name in re.findall(r"^(?:# )?(\w+) = ", body, re.MULTILINE)
        }
        assert listed == set(FIELDS)

    def test_a_commented_setting_of_the_shipped_file_is_valid(self) -> None:
        text = (ROOT / "config.toml").read_text()
        told = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
        told = told.replace("https://financialmodelingprep.com", "http://localhost:1")
        settings = read(secret_file(told))
        assert settings.clock.starts_at is not None
        assert settings.fmp.bandwidth_gb == 20.0

    @pytest.mark.parametrize("key", FIELDS)
    def test_the_documentation_has_a_row_for_the_setting(self, key: str) -> None:
        text = (ROOT / "docs/configuration.md").read_text()
        default = FIELDS[key].default
        shown = "none" if default is None else f"`{toml(default)}`"
        assert f"| `{key}` | `{variable(key)}` | {shown} | " in text

    def test_the_documentation_names_every_variable(self) -> None:
        text = (ROOT / "docs/configuration.md").read_text()
        assert [name for name in KNOWN if f"`{name}`" not in text] == []

    def test_the_documentation_names_no_unknown_variable(self) -> None:
        text = (ROOT / "docs/configuration.md").read_text()
        named = set(re.findall(r"COLLECTOR_\w+__\w+|DATABASE_URL\w*|FMP_\w+", text))
        assert named - KNOWN == {"DATABASE_URL_TEST", "COLLECTOR_SECTION__NAME"}


def toml(value: object) -> str:
    """Return a default as config.toml writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        entries = [f'"{key}" = {each}' for key, each in value.items()]
        return "{ " + ", ".join(entries) + " }"
    return str(value)


def test_the_settings_bring_in_no_slow_library() -> None:
    code = (
        "import sys, collector.settings; print('polars' in sys.modules, 'aiohttp' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "False False\n"
