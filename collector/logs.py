"""What is said on stderr: one record, one line, as text or JSON, and no secret in it.

Modules log with ``logging.getLogger(__name__)``; `setup` decides how it looks. The first net
against secrets is not to log them; the second is here: `hide` makes known ones ``***`` in every
line, whatever brought them there.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]

SHORTEST_SECRET = 4  # to hide a shorter one would make the lines unreadable
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31;1"}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class _Hidden:
    """The secrets that no line may hold, as one pattern over every form that they may take."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        self._forms |= {form for form in _forms(secret) if len(form) >= SHORTEST_SECRET}
        longest_first = sorted(self._forms, key=len, reverse=True)
        if longest_first:
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # back to the state of a new one

    def redact(self, text: str) -> str:
        return self._pattern.sub("***", text) if self._pattern else text


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret as it is, escaped for JSON and Python, URL-encoded and in base64."""
    if len(secret) < SHORTEST_SECRET:
        return
    for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        yield from (form, json.dumps(form)[1:-1])
    raw = secret.encode("utf-8", "surrogateescape")
    for encoded in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        yield encoded
        yield re.sub("%..", lambda match: match[0].lower(), encoded)
    for offset in range(3):
        yield from _base64(raw, offset)


def _base64(raw: bytes, offset: int) -> Iterator[str]:
    """Yield the letters that ``raw`` alone decides where it starts ``offset`` bytes into a text."""
    first, end = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(bytes(offset) + raw).decode()[first:end]


_hidden = _Hidden()


def hide(secret: str) -> None:
    """Show ``secret`` as ``***`` from now on. One of less than four characters is let through."""
    _hidden.add(secret)


def redact(text: str) -> str:
    """Return ``text`` with every hidden secret as ``***``."""
    return _hidden.redact(text)


def escape(text: str) -> str:
    """Return ``text`` on one line: control characters, line ends and direction marks escaped."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


class _Unbuffered:
    """Writes past the buffer of a file.

    What a buffer could not get rid of on a full disk it tries again at exit, and the exit code
    becomes 120.
    """

    def __init__(self, raw: io.RawIOBase, encoding: str) -> None:
        self._raw = raw
        self._encoding = encoding

    def write(self, text: str) -> None:
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        while rest:
            written = self._raw.write(rest)
            if not written:
                raise BlockingIOError
            rest = rest[written:]

    def flush(self) -> None:
        """Nothing is held back."""


def _unbuffered(stream: TextIO | None) -> TextIO | _Unbuffered | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if stream is None or not isinstance(raw, io.RawIOBase):
        return stream
    return _Unbuffered(raw, stream.encoding)


class Handler(logging.StreamHandler[Any]):
    """Writes to ``stream``, or to what `sys.stderr` is at that moment: a progress bar moves it.

    A record that cannot be written or formatted is counted in ``dropped``, and that is all: a
    full disk or a closed stderr must not stop the program, nor bring forth a flood of tracebacks.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._chosen = stream
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self.stream = _unbuffered(self._chosen or sys.stderr)
        super().emit(record)

    def flush(self) -> None:
        """Flush the stream; one that is closed or full holds nothing to lose."""
        try:
            super().flush()
        except (OSError, ValueError):
            self.dropped += 1

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, secrets hidden."""
        return redact(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's
        """Count the record that is lost."""
        self.dropped += 1


def setup(level: Level = "info", format: Format = "auto", stream: TextIO | None = None) -> Handler:  # noqa: A002
    """Send every log record and warning to stderr; return the handler. It may be called again.

    ``level`` is for our own modules; others are heard from WARNING on. ``auto`` is text, with
    colours on a terminal.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = Handler(stream)
    handler.setFormatter(_formatter(json_lines=format == "json", colours=_is_terminal(stream)))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("collector").setLevel(threshold)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # retries are counted, not told
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    return handler


def _is_terminal(stream: TextIO | None) -> bool:
    target = stream or sys.stderr
    try:
        return "NO_COLOR" not in os.environ and target is not None and target.isatty()
    except ValueError:  # closed
        return False


def _formatter(*, json_lines: bool, colours: bool) -> logging.Formatter:
    """Return structlog's formatter for our records and for those of structlog's own loggers."""
    import structlog  # here: it takes 0.15 s, and `--help` logs nothing

    stdlib = structlog.stdlib
    shared: list[Processor] = [_add_facts, structlog.processors.format_exc_info]
    extra: list[Processor] = [stdlib.ExtraAdder()] if json_lines else []
    # stamina logs by structlog, which prints to stdout unless it is told otherwise.
    structlog.configure(
        processors=[
            stdlib.filter_by_level,
            stdlib.PositionalArgumentsFormatter(),
            stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=stdlib.BoundLogger,
        logger_factory=stdlib.LoggerFactory(),
    )
    return stdlib.ProcessorFormatter(
        foreign_pre_chain=extra,
        processors=[*shared, _Text(colours=colours) if not json_lines else _json],
    )


def _add_facts(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace structlog's own entries by the instant, the level, the logger and the message."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    facts = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": str(event.pop("event")),
    }
    return {**event, **facts}


def _json(_logger: object, _method: str, event: EventDict) -> str:
    """Return one JSON document of ASCII; what JSON does not know is given by its `repr`."""
    first = {name: event.pop(name) for name in ("at", "level", "logger", "message")}
    return json.dumps({**first, **event}, default=repr, skipkeys=True)


class _Text:
    """Renders ``instant level message``, then a traceback, all on one line."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        at = event.pop("at")[:19]
        level, message = event.pop("level"), event.pop("message")
        event.pop("logger")
        traces = [event.pop(name, None) for name in ("exception", "stack_info")]
        rest = "".join(f" {name}={value!r}" for name, value in event.items())
        line = escape(" | ".join([f"{message}{rest}", *filter(None, traces)]))
        return f"{at}Z {self._coloured(level)} {line}"

    def _coloured(self, level: str) -> str:
        name = f"{level.upper():<7}"
        colour = _COLOURS.get(level) if self._colours else None
        return f"\x1b[{colour}m{name}\x1b[0m" if colour else name
