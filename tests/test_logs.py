"""One record, one line, no secret, and never an error."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import logs

SECRET = "p@ss/wörd+9f31c2"  # noqa: S105 - it opens nothing
ROOT = Path(__file__).parent.parent
log = logging.getLogger("collector.fmp.client")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the root logger back as it was, and forget the secrets."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.delenv("NO_COLOR", raising=False)
    root = logging.getLogger()
    names = ("collector", "stamina")
    levels = {name: logging.getLogger(name).level for name in names}
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    logs._hidden.clear()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def documents(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(stream)]


def record(message: str, *args: object) -> logging.LogRecord:
    """Return a record to hand to our handler alone: pytest's own cannot take every text."""
    return log.makeRecord(log.name, logging.WARNING, __file__, 1, message, args, None)


def fail(text: str) -> None:
    raise ValueError(text)


class TestText:
    """What a person reads."""

    def test_a_line_is_instant_level_and_message(self) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream)
        log.info("%s: Stored %d daily records", "AAPL", 10)
        (line,) = lines(stream)
        at, level, message = line.split(maxsplit=2)
        assert datetime.fromisoformat(at).utcoffset() is not None
        assert (level, message) == ("INFO", "AAPL: Stored 10 daily records")

    def test_what_a_record_brings_along_stays_out_of_the_text(self) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream)
        log.info("stored", extra={"ticker": "AAPL"})
        assert lines(stream)[0].endswith(" stored")

    def test_control_characters_and_line_ends_are_escaped(self) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream).handle(
            record("a\r\n2026 ERROR forged\x1b[31m\x00\u2028\u202eb\ud800")
        )
        (line,) = lines(stream)
        assert line.endswith(r"a\r\n2026 ERROR forged\x1b[31m\x00\u2028\u202eb\ud800")

    def test_a_traceback_is_on_the_line_of_its_record(self) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream)
        try:
            fail("boom\nboom")
        except ValueError:
            log.exception("it broke")
        log.warning("with a stack", stack_info=True)
        broken, with_stack = lines(stream)
        assert r" it broke | Traceback (most recent call last):\n" in broken
        assert broken.endswith(r"ValueError: boom\nboom")
        assert r" with a stack | Stack (most recent call last):\n" in with_stack

    @pytest.mark.parametrize("format", ["auto", "text"])
    def test_a_terminal_gets_colours(self, format: logs.Format) -> None:  # noqa: A002
        stream = Terminal()
        logs.setup(format=format, stream=stream)
        log.warning("careful")
        log.info("plain")
        assert lines(stream)[0].endswith("\x1b[33mWARNING\x1b[0m careful")
        assert lines(stream)[1].endswith("Z INFO    plain")

    def test_no_color_is_honoured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        stream = Terminal()
        logs.setup(stream=stream)
        log.warning("careful")
        assert "\x1b" not in stream.getvalue()

    def test_no_colours_where_there_is_no_terminal(self) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream)
        log.error("careful")
        assert "\x1b" not in stream.getvalue()

    @settings(max_examples=200, deadline=None)
    @given(text=st.text())
    def test_any_message_is_one_printable_line(self, text: str) -> None:
        escaped = logs.escape(text)
        assert len(escaped.splitlines()) <= 1
        escaped.encode()


class TestJson:
    """What a machine reads."""

    def test_a_line_is_one_document(self) -> None:
        stream = Terminal()
        logs.setup(format="json", stream=stream)
        log.warning("%s\nfailed", "AAPL", extra={"ticker": "AAPL", "at_fault": {1, 2}})
        (told,) = documents(stream)
        assert datetime.fromisoformat(told.pop("at")).utcoffset() is not None
        assert told == {
            "level": "warning",
            "logger": "collector.fmp.client",
            "message": "AAPL\nfailed",
            "ticker": "AAPL",
            "at_fault": "{1, 2}",
        }

    def test_an_exception_is_a_member(self) -> None:
        stream = io.StringIO()
        logs.setup(format="json", stream=stream)
        try:
            fail("boom")
        except ValueError:
            log.exception("it broke")
        (told,) = documents(stream)
        assert told["exception"].startswith("Traceback")
        assert told["exception"].endswith("ValueError: boom")

    def test_text_that_is_not_unicode_is_told_all_the_same(self) -> None:
        stream = io.StringIO()
        logs.setup(format="json", stream=stream).handle(record("\ud800"))
        assert documents(stream)[0]["message"] == "\ud800"


class TestLevels:
    """Who is heard."""

    def test_our_modules_are_heard_from_the_level_on(self) -> None:
        stream = io.StringIO()
        logs.setup("warning", stream=stream)
        log.info("no")
        log.warning("yes")
        assert [line.split()[-1] for line in lines(stream)] == ["yes"]

    @pytest.mark.parametrize("name", ["asyncpg", "aiohttp.access", "redis", "asyncio"])
    def test_libraries_are_heard_from_warning_on(self, name: str) -> None:
        stream = io.StringIO()
        logs.setup("debug", stream=stream)
        logging.getLogger(name).info("no")
        logging.getLogger(name).warning("yes")
        log.debug("ours")
        assert [line.split()[-1] for line in lines(stream)] == ["yes", "ours"]

    def test_libraries_are_quiet_when_we_are(self) -> None:
        stream = io.StringIO()
        logs.setup("error", stream=stream)
        logging.getLogger("asyncpg").warning("no")
        assert lines(stream) == []

    def test_warnings_go_to_the_log_on_one_line(self) -> None:
        stream = io.StringIO()
        with warnings.catch_warnings():
            logs.setup(stream=stream)
            warnings.simplefilter("always")
            warnings.warn("old thing", stacklevel=1)
            logging.captureWarnings(capture=False)
        (line,) = lines(stream)
        assert "UserWarning: old thing" in line

    def test_structlogs_own_loggers_go_to_the_same_place(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stream = io.StringIO()
        logs.setup(stream=stream)
        structlog.get_logger("lib").warning("hello", wait_s=0.5)
        structlog.get_logger("stamina").warning("retry")
        assert lines(stream)[0].endswith("WARNING hello wait_s=0.5")
        assert len(lines(stream)) == 1
        assert capsys.readouterr() == ("", "")

    def test_a_second_setup_replaces_the_first(self) -> None:
        first, second = io.StringIO(), io.StringIO()
        logs.setup(stream=first)
        logs.setup(stream=second)
        log.info("once")
        assert (len(lines(first)), len(lines(second))) == (0, 1)


class TestSecrets:
    """The second net."""

    @pytest.mark.parametrize("format", ["text", "json"])
    @pytest.mark.parametrize(
        "form",
        [
            SECRET,
            repr(SECRET),
            quote(SECRET),
            quote(SECRET, safe=""),
            quote(SECRET, safe="").lower(),
            json.dumps(SECRET),
            base64.b64encode(SECRET.encode()).decode(),
            base64.b64encode(f"user:{SECRET}".encode()).decode(),
            base64.urlsafe_b64encode(f"ab{SECRET}cd".encode()).decode(),
        ],
    )
    def test_every_form_of_a_secret_is_hidden(self, format: logs.Format, form: str) -> None:  # noqa: A002
        stream = io.StringIO()
        logs.setup(format=format, stream=stream)
        logs.hide(SECRET)
        log.error("before %s after", form)
        assert "***" in stream.getvalue()
        assert not set(SECRET.split("+")) & set(stream.getvalue().split())
        assert form not in stream.getvalue()
        assert "9f31c2" not in stream.getvalue()

    @pytest.mark.parametrize("format", ["text", "json"])
    def test_a_secret_in_an_exception_is_hidden(self, format: logs.Format) -> None:  # noqa: A002
        stream = io.StringIO()
        logs.setup(format=format, stream=stream)
        logs.hide(SECRET)
        try:
            fail(f"GET https://host/?apikey={SECRET}")
        except ValueError:
            log.exception("call failed", extra={"url": f"https://{SECRET}@host"})
        assert "9f31c2" not in stream.getvalue()
        assert "apikey=***" in stream.getvalue()

    def test_the_longer_of_two_secrets_is_hidden_whole(self) -> None:
        logs.hide("password")
        logs.hide("password-of-the-database")
        assert logs.redact("x password-of-the-database y") == "x *** y"

    def test_a_tiny_secret_does_not_make_the_lines_unreadable(self) -> None:
        logs.hide("a")
        logs.hide("")
        assert logs.redact("a banana") == "a banana"

    def test_without_secrets_nothing_is_touched(self) -> None:
        assert logs.redact("as it is") == "as it is"

    @settings(max_examples=200, deadline=None)
    @given(
        secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8),
        before=st.binary(max_size=9),
        after=st.binary(max_size=9),
    )
    def test_base64_hides_the_secret_wherever_it_starts(
        self, secret: str, before: bytes, after: bytes
    ) -> None:
        logs.hide(secret)
        text = base64.b64encode(before + secret.encode() + after).decode()
        assert "***" in logs.redact(text)
        assert logs.redact(secret) == "***"
        logs._hidden.clear()


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


class TestTrouble:
    """Logging stops nothing."""

    def test_a_closed_stream_is_counted_and_nothing_else(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stream = io.StringIO()
        handler = logs.setup(stream=stream)
        stream.close()
        log.warning("lost")
        logs.setup(stream=stream)  # colours cannot be asked for
        assert handler.dropped == 1
        assert capsys.readouterr() == ("", "")

    def test_a_full_disk_is_counted_and_nothing_else(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        handler = logs.setup(stream=Full())
        log.warning("lost")
        log.warning("lost too")
        assert handler.dropped == 2
        assert capsys.readouterr() == ("", "")

    def test_a_record_that_cannot_be_formatted_is_counted(self) -> None:
        stream = io.StringIO()
        handler = logs.setup(stream=stream)
        handler.handle(record("%d", "x"))
        handler.handle(record("next"))
        assert handler.dropped == 1
        assert len(lines(stream)) == 1

    def test_a_file_has_the_line_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with path.open("w", encoding="ascii") as stream:
            logs.setup(stream=stream)
            log.info("é")
            assert path.read_text().endswith(" \\xe9\n")

    def test_a_pipe_that_nobody_reads_does_not_hold_up_the_program(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(reading), os.fdopen(writing, "w") as stream:
            handler = logs.setup(stream=stream)
            for _ in range(100):
                handler.handle(record("x" * 4000))
            assert 0 < handler.dropped < 100
            handler.flush()

    def test_stderr_is_looked_up_when_a_record_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logs.setup()
        moved = io.StringIO()
        monkeypatch.setattr(sys, "stderr", moved)
        log.info("to the bar")
        assert lines(moved)[0].endswith("to the bar")

    def test_no_stderr_at_all_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        handler = logs.setup()
        log.info("lost")
        assert handler.dropped == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_program_on_a_full_disk_still_ends_well(self) -> None:
        code = (
            "import logging; from collector import logs; logs.setup()\n"
            "for _ in range(3): logging.getLogger('collector').info('x')\n"
            "print('done')"
        )
        with Path("/dev/full").open("w") as full:
            run = subprocess.run(
                [sys.executable, "-c", code],
                stdout=subprocess.PIPE,
                stderr=full,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": ""},
                check=False,
            )
        assert (run.returncode, run.stdout) == (0, b"done\n")
