"""Bodies that FMP sent come out of our printer byte for byte."""

from __future__ import annotations

import orjson
import pytest

from collector.simulator.layout import etag, objects_body, quoted, rows_body
from collector.simulator.numerals import print_number
from tests.simulator.wire import recorded

FRACTIONAL = [
    "stable_eod_full_AAPL_2023-01-01_2023-01-10.json",
    "stable_eod_full_DJI_2023-01-01_2023-01-10.json",
    "stable_eod_full_BTCUSD_2023-01-01_2023-01-10.json",
    "stable_eod_full_EURUSD_2023-01-01_2023-01-10.json",
    "fmp4j_eod_light_AAPL_2024-02-22_2024-02-28.json",
    "fix_eod_non-split-adjusted_AAPL_2020-split.json",
    "fmp4j_historical-chart_1hour_AAPL_2024-01-02_trim2.json",
    "fix_historical-chart_1min_AAPL_head.json",
    "fix_batch-crypto-quotes_fractional-volume.json",
]
WHOLE = ["fix_splits_AAPL.json", "fix_stock-list_head.json", "empty_200_unknown_symbol.json"]


def cell(value: object) -> str:
    """Return ``value`` as JSON text."""
    return quoted(value) if isinstance(value, str) else print_number(value)  # type: ignore[arg-type]  # a number


@pytest.mark.parametrize("name", FRACTIONAL)
def test_recorded_rows_print_to_the_recorded_bytes(name: str) -> None:
    body = recorded(name)
    rows = orjson.loads(body)
    columns = {member: [cell(row[member]) for row in rows] for member in rows[0]}
    assert rows_body(columns) == body


@pytest.mark.parametrize("name", WHOLE)
def test_recorded_objects_print_to_the_recorded_bytes(name: str) -> None:
    body = recorded(name)
    assert objects_body(orjson.loads(body)) == body


def test_constant_column_stands_in_every_row() -> None:
    body = rows_body({"symbol": quoted("A%sB"), "close": ["1", "2"]})
    assert orjson.loads(body) == [{"symbol": "A%sB", "close": 1}, {"symbol": "A%sB", "close": 2}]


def test_no_row_is_two_bytes() -> None:
    assert rows_body({"symbol": quoted("AAPL"), "close": []}) == b"[]"


def test_non_ascii_letters_are_sent_as_they_are() -> None:
    assert quoted("Nestlé „S“") == '"Nestlé „S“"'


def test_etag_is_length_in_hex_and_sha1_in_base64() -> None:
    # The first is recorded (`W/"<hex>-…"` over 1,386 bytes); the second is Express' own for "[]".
    assert etag(recorded("stable_eod_full_AAPL_2023-01-01_2023-01-10.json")).startswith('W/"56a-')
    assert etag(b"[]") == 'W/"2-l9Fw4VUO7kr8CvBlt4zaMCqXZ0w"'
