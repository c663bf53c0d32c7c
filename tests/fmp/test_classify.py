"""What every recorded answer means, and every shape that an error was seen in."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import Failed, FetchError, Kind, Refused, Throttled, Transient
from collector.fmp.classify import OldFrom, Reply, classify, printable, retry_after_s
from tests.fmp.server import KEY, recorded

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def meaning(body: bytes | str, status: int = 200, **headers: str) -> FetchError | None:
    """The error of an answer."""
    payload = body.encode() if isinstance(body, str) else body
    return classify(Reply(status, payload, **headers), AT)


@pytest.mark.parametrize(
    ("name", "status", "error", "kind"),
    [
        ("err_400_invalid_exchange.txt", 400, Failed, Kind.SERVER),
        ("err_400_missing_parameter_date.txt", 400, Failed, Kind.SERVER),
        ("err_400_missing_parameter_symbol.txt", 400, Failed, Kind.SERVER),
        ("err_401_invalid_or_missing_key.json", 401, Refused, Kind.AUTH),
        ("err_402_from_value.txt", 402, OldFrom, Kind.PLAN),
        ("err_402_limit_value.txt", 402, Failed, Kind.PLAN),
        ("err_402_restricted_endpoint.txt", 402, Refused, Kind.PLAN),
        ("err_402_symbol.txt", 402, Failed, Kind.PLAN),
        ("err_403_account_suspended.json", 403, Refused, Kind.AUTH),
        ("err_403_exclusive_endpoint_legacy.json", 403, Failed, Kind.PLAN),
        ("err_403_legacy_endpoint.json", 403, Refused, Kind.PLAN),
        ("err_404_unknown_path.json", 404, Failed, Kind.NOT_FOUND),
        ("err_429_bandwidth.json", 429, Refused, Kind.QUOTA),
        ("err_429_limit_reach.json", 429, Throttled, Kind.RATE_LIMITED),
        ("err_limit_reach_legacy_2020-2023.json", 200, Throttled, Kind.RATE_LIMITED),
        ("err_v3era_special_endpoint_2021.json", 403, Failed, Kind.PLAN),
        ("err_v3era_us_only_2022.json", 200, Failed, Kind.PLAN),
    ],
)
def test_recorded_errors(name: str, status: int, error: type[FetchError], kind: Kind) -> None:
    """Each body that FMP was seen to send, under the status that it came with."""
    found = meaning(recorded(name), status)
    assert type(found) is error
    assert found.kind is kind
    assert "?" not in str(found)


@pytest.mark.parametrize(
    "body",
    [
        '{"Error Message": "%s"}',
        '{"Error Message" : "%s"}',
        '{"message": "%s"}',
        '{"error": "%s"}',
        '{"error": {"message": "%s"}}',
        '{"errors": ["%s"]}',
        '[{"Error Message": "%s"}]',
        '["%s"]',
        '"%s"',
        "%s",
    ],
)
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Invalid API KEY. Feel free", Kind.AUTH),
        ("Limit Reach . Please upgrade", Kind.RATE_LIMITED),
        ("Bandwidth Limit Reach . Please", Kind.QUOTA),
        ("Exclusive Endpoint : not under your subscription", Kind.PLAN),
    ],
)
def test_an_error_with_status_200_is_known_by_its_text(body: str, text: str, kind: Kind) -> None:
    """In whatever wrapping it comes; it is never taken for data."""
    found = meaning(body % text)
    assert found is not None
    assert found.kind is kind
    assert str(found) == text


def test_an_unknown_error_with_status_200_is_the_servers() -> None:
    """What it says is handed on."""
    found = meaning('{"error": "the moon is in the wrong house"}')
    assert isinstance(found, Failed)
    assert str(found) == "FMP says: the moon is in the wrong house"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b' \n[{"date": "2026-01-02"}]\n'])
def test_what_may_be_data_is_no_error(body: bytes) -> None:
    """Empty ones too: whether rows are missing is judged later."""
    assert meaning(body) is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>\n<body>Down for your subscription", "HTML page, first 80 characters: <html>"),
        (b'[{"date": "2026-01-02"', "broken JSON, first 80 characters: [{"),
        (b"\x00\xff\x1b[31m", "not JSON, first 80 characters: ?"),
        (b"[1, NaN]", "broken JSON"),
        (b"[" + b" " * 5000, "broken JSON"),
        (b"17", "not JSON, first 80 characters: 17"),
    ],
)
def test_what_is_no_json_is_a_bad_body(body: bytes, says: str) -> None:
    """The message shows how it begins, on one printable line."""
    found = meaning(body)
    assert isinstance(found, Transient)
    assert found.kind is Kind.BAD_BODY
    assert str(found).startswith(says)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, Refused, Kind.AUTH),
        (402, Failed, Kind.PLAN),
        (403, Refused, Kind.AUTH),
        (404, Failed, Kind.NOT_FOUND),
        (418, Failed, Kind.SERVER),
        (429, Throttled, Kind.RATE_LIMITED),
        (500, Transient, Kind.SERVER),
        (503, Transient, Kind.SERVER),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>x</html>", b"whatever", b'{"x": 1}', b"[1]"])
def test_a_status_means_what_it_means_with_any_other_body(
    status: int, error: type[FetchError], kind: Kind, body: bytes
) -> None:
    """HTML from a proxy, nothing at all, JSON that says nothing."""
    found = meaning(body, status)
    assert type(found) is error
    assert found.kind is kind


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (f"https://evil.example/x?apikey={KEY}", "evil.example"),
        ("/elsewhere", "(none named)"),
        ("http://[", "(unreadable)"),
    ],
)
def test_a_redirect_names_the_host_only(location: str, host: str) -> None:
    """It is not followed, so it is an error."""
    found = meaning(b"", 302, location=location)
    assert isinstance(found, Failed)
    assert str(found) == f"unexpected redirect to host {host}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("0", 1),
        ("2.5", 2.5),
        (" 7 ", 7),
        ("1000000000", 900),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 1),
        ("Mon, 23 Nov 2026 12:00:30 -0000", None),
        ("-1", None),
        ("soon", None),
        ("1e9", None),
        ("", None),
        ("٣", None),
        ("nan", None),
    ],
)
def test_retry_after_is_clamped_or_passed_over(header: str, seconds: float | None) -> None:
    """Never under a second, never over a quarter of an hour."""
    assert retry_after_s(header, AT) == seconds
    found = meaning(b"", 429, retry_after=header)
    assert isinstance(found, Throttled)
    assert found.retry_after_s == seconds


@given(st.binary(max_size=6000), st.integers(200, 599), st.text(max_size=40))
def test_any_answer_has_a_meaning(body: bytes, status: int, header: str) -> None:
    """And a message of one short printable line."""
    found = classify(Reply(status, body, header, header), AT)
    assert found is None or isinstance(found, FetchError)
    if found is None:
        assert status == 200
    else:
        assert len(str(found)) <= 200
        assert str(found).isprintable()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_any_json_has_a_meaning(document: object) -> None:
    """Whatever FMP may come to send."""
    body = orjson.dumps(document, default=str) if _fits(document) else b"[]"
    found = meaning(body)
    assert found is None or isinstance(found, FetchError)


def _fits(document: object) -> bool:
    try:
        orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, half of a surrogate pair
        return False
    return True


def test_a_printed_text_loses_the_queries_of_its_urls() -> None:
    """They may carry a key."""
    text = f"see\thttps://fmp.example/a?apikey={KEY}&x=1, or\n http://b.example/?q"
    assert printable(text) == "see https://fmp.example/a or http://b.example/"
