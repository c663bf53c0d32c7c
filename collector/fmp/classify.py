"""What an answer means: nothing wrong, or one `FetchError` that says what to do about it. Pure.

FMP's refusals are told apart by their text, because one status has several meanings, several are
plain text under ``application/json``, and some come with status 200 (FMP.md section 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from collector.errors import Failed, FetchError, Kind, Refused, Throttled, Transient

LONGEST_MESSAGE = 200
SHORT = 4_096  # an error body is shorter; a longer array is rows
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 900.0
DEEPEST = 4  # of an error text below members named error, message, …
ERROR_MEMBERS = frozenset({"error message", "error", "errors", "message", "detail"})

_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*")
_AUTH = re.compile(r"invalid api key|api key (?:is )?(?:invalid|missing)|suspended", re.IGNORECASE)
_BANDWIDTH = re.compile(r"bandwidth limit", re.IGNORECASE)
_LIMIT = re.compile(r"limit reach|too many requests", re.IGNORECASE)
_OLD_FROM = re.compile(r"set for 'from'", re.IGNORECASE)
_ENDPOINT = re.compile(r"restricted endpoint|legacy endpoint", re.IGNORECASE)
_PLAN = re.compile(
    r"exclusive endpoint|special endpoint|special parameters|premium query|free plan|subscription",
    re.IGNORECASE,
)


class OldFrom(Failed):
    """The plan does not reach back to the ``from`` that was asked for (402)."""

    def __init__(self, message: str) -> None:
        super().__init__(Kind.PLAN, message)


@dataclass(frozen=True)
class Reply:
    """A whole answer. ``body`` is decompressed; absent headers are empty."""

    status: int
    body: bytes
    retry_after: str = ""
    location: str = ""


def classify(reply: Reply, at: datetime) -> FetchError | None:
    """The error that ``reply`` means, or None where its body is to be decoded.

    ``at`` is now, against which a ``Retry-After`` that names an instant is read.
    """
    text, wait_s = _text(reply.body), retry_after_s(reply.retry_after, at)
    if reply.status == 200:
        return _of_ok(reply.body, text, wait_s)
    if 300 <= reply.status < 400:
        return Failed(Kind.SERVER, f"unexpected redirect to host {_host(reply.location)}")
    if reply.status >= 500:
        return Transient(Kind.SERVER, _said(reply.status, text))
    return _of_refusal(reply.status, text, wait_s)


def error_in(document: object, wait_s: float | None = None) -> FetchError | None:
    """The error that a parsed ``document`` states where rows were expected, if any.

    ``wait_s`` is what a `Throttled` carries on.
    """
    text = printable(next(_error_texts(document, 0), ""))
    if not text:
        return None
    return _known(text, wait_s) or Failed(Kind.SERVER, f"FMP says: {text}"[:LONGEST_MESSAGE])


def retry_after_s(header: str, at: datetime) -> float | None:
    """The seconds that ``Retry-After`` asks for, within [1, 900]; None where it makes no sense."""
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", header.strip()):
            seconds = float(header)
        else:
            seconds = (parsedate_to_datetime(header) - at).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without its zone
        return None
    return min(max(seconds, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)


def printable(text: str | bytes, longest: int = LONGEST_MESSAGE) -> str:
    """``text`` as one short printable line, without the query of any URL in it."""
    whole = text[:SHORT].decode("utf-8", "replace") if isinstance(text, bytes) else text[:SHORT]
    line = " ".join(_URL_QUERY.sub(r"\1", whole).split())
    return "".join(c if c.isprintable() else "?" for c in line)[:longest]


def bad_body(body: bytes) -> Transient:
    """The error of a body that is no JSON: it says how the body begins."""
    begins = body.lstrip()[:1]
    what = {b"<": "HTML page", b"[": "broken JSON", b"{": "broken JSON"}.get(begins, "not JSON")
    return Transient(Kind.BAD_BODY, f"{what}, first 80 characters: {printable(body, 80)}")


def _of_ok(body: bytes, text: str, wait_s: float | None) -> FetchError | None:
    bare = body.strip()
    if len(bare) > SHORT and bare[:1] == b"[" and bare[-1:] == b"]":
        return None
    try:
        document = orjson.loads(bare or b"null")
    except orjson.JSONDecodeError:
        return (None if _is_html(body) else _known(text, wait_s)) or bad_body(body)
    return bad_body(body) if isinstance(document, (int, float)) else error_in(document, wait_s)


def _of_refusal(status: int, text: str, wait_s: float | None) -> FetchError:
    said = _said(status, text)
    match status:
        case 401:
            return Refused(Kind.AUTH, said)
        case 404:
            return Failed(Kind.NOT_FOUND, said)
        case 429:
            return _throttled(said, wait_s)
    otherwise = {402: Failed(Kind.PLAN, said), 403: Refused(Kind.AUTH, said)}
    return _known(text, wait_s) or otherwise.get(status, Failed(Kind.SERVER, said))


def _known(text: str, wait_s: float | None) -> FetchError | None:
    """The error of one of FMP's own sentences, whatever status it comes with."""
    if _AUTH.search(text):
        return Refused(Kind.AUTH, text)
    if _BANDWIDTH.search(text) or _LIMIT.search(text):
        return _throttled(text, wait_s)
    if _OLD_FROM.search(text):
        return OldFrom(text)
    if _ENDPOINT.search(text):
        return Refused(Kind.PLAN, text)
    return Failed(Kind.PLAN, text) if _PLAN.search(text) else None


def _throttled(text: str, wait_s: float | None) -> FetchError:
    return Refused(Kind.QUOTA, text) if _BANDWIDTH.search(text) else Throttled(text, wait_s)


def _said(status: int, text: str) -> str:
    return (
        f"HTTP {status}: {text}"[:LONGEST_MESSAGE] if text not in ("", "[]") else f"HTTP {status}"
    )


def _text(body: bytes) -> str:
    """What the body of an error says, out of its JSON if it is any."""
    if _is_html(body):
        return "HTML page"
    try:
        document = orjson.loads(body) if len(body) <= SHORT else None
    except orjson.JSONDecodeError:
        document = None
    return printable(next(_error_texts(document, 0), body))


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _error_texts(document: Any, depth: int) -> Iterator[str]:  # noqa: ANN401 - it is any JSON
    if isinstance(document, str):
        yield document
    elif depth < DEEPEST and isinstance(document, list):
        for element in document[:3]:
            yield from _error_texts(element, depth + 1)
    elif depth < DEEPEST and isinstance(document, dict):
        for name, value in document.items():
            if name.lower() in ERROR_MEMBERS:
                yield from _error_texts(value, depth + 1)


def _host(location: str) -> str:
    try:
        return printable(urlsplit(location).hostname or "(none named)", 100)
    except ValueError:
        return "(unreadable)"
