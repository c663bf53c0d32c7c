"""Ranges, caps, fields and their order (FMP.md, sections 3, 4 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.simulator.call import Call
from collector.simulator.endpoints import (
    ENDPOINTS,
    chart_hourly,
    eod_dividend_adjusted,
    eod_full,
    eod_light,
    eod_raw,
    hourly_range,
    splits,
    stock_list,
)
from collector.simulator.history import GeneratedBars, History
from collector.simulator.tickers import demo_tickers
from tests.simulator.wire import EVENING, NOON, recorded

HISTORY = GeneratedBars()
Rows = list[dict[str, float | str]]
Body = Callable[[Call, History, datetime], bytes]
TUESDAY = "2025-03-04"


def rows(
    body: Body, since: str = "", upto: str = "", at: datetime = EVENING, limit: str = ""
) -> Rows:
    """Return the rows that an endpoint answers to ``from``, ``to`` and ``limit``."""
    query = {"symbol": "AAPL", "from": since, "to": upto, "limit": limit}
    found: Rows = orjson.loads(body(Call("stable/x", query), HISTORY, at))
    return found


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (eod_full, "stable_eod_full_AAPL_2023-01-01_2023-01-10.json"),
        (eod_light, "fmp4j_eod_light_AAPL_2024-02-22_2024-02-28.json"),
        (eod_raw, "fix_eod_non-split-adjusted_AAPL_2020-split.json"),
        (eod_dividend_adjusted, "fix_eod_non-split-adjusted_AAPL_2020-split.json"),
        (chart_hourly, "fmp4j_historical-chart_1hour_AAPL_2024-01-02_trim2.json"),
        (splits, "fix_splits_AAPL.json"),
        (stock_list, "fix_stock-list_head.json"),
    ],
)
def test_fields_stand_in_the_recorded_order(body: Body, name: str) -> None:
    assert list(rows(body)[0]) == list(orjson.loads(recorded(name))[0])


@pytest.mark.parametrize(
    ("name", "window"),
    [
        (
            "stable_eod_full_AAPL_2023-01-01_2023-01-10.json",
            ("2023-01-01", "2023-01-10"),
        ),
        (
            "fmp4j_eod_light_AAPL_2024-02-22_2024-02-28.json",
            ("2024-02-22", "2024-02-28"),
        ),
    ],
)
def test_dates_are_those_of_the_recorded_answer(name: str, window: tuple[str, str]) -> None:
    body = eod_light if "light" in name else eod_full
    assert [row["date"] for row in rows(body, *window)] == [
        row["date"] for row in orjson.loads(recorded(name))
    ]


def test_hours_are_labelled_as_recorded() -> None:
    served = rows(chart_hourly, since="2024-01-01", upto="2024-01-02")
    wanted = orjson.loads(recorded("fmp4j_historical-chart_1hour_AAPL_2024-01-02_trim2.json"))
    assert [row["date"] for row in served[:2]] == [row["date"] for row in wanted]
    assert len(served) == 7


def test_splits_of_apple_are_the_recorded_bytes() -> None:
    body = splits(Call("stable/splits", {"symbol": "AAPL"}), HISTORY, EVENING)
    assert body == recorded("fix_splits_AAPL.json")


@pytest.mark.parametrize("body", [eod_full, eod_light, chart_hourly, splits])
def test_newest_comes_first(body: Body) -> None:
    dates = [str(row["date"]) for row in rows(body)]
    assert dates == sorted(dates, reverse=True)
    assert len(dates) == len(set(dates)) > 1


def test_derived_fields_follow_from_the_prices() -> None:
    for row in rows(eod_full, since="2020-01-01"):
        o, h, low, c = (float(row[name]) for name in ("open", "high", "low", "close"))
        assert row["change"] == round(c - o, 5)
        assert row["vwap"] == pytest.approx((o + h + low + c) / 4, abs=1e-6)
        percent = (c - o) / o * 100
        digits = 8 if abs(percent) < 0.1 else 5
        assert row["changePercent"] == pytest.approx(percent, abs=0.51 * 10**-digits)


def test_light_is_the_close_and_the_volume_of_full() -> None:
    since = "2025-02-03"
    assert [(row["price"], row["volume"]) for row in rows(eod_light, since)] == [
        (row["close"], row["volume"]) for row in rows(eod_full, since)
    ]


def test_raw_prices_are_those_before_the_split() -> None:
    window = ("2020-08-28", "2020-08-31")
    (after, before), (raw_after, raw_before) = rows(eod_full, *window), rows(eod_raw, *window)
    assert raw_after["adjClose"] == after["close"]
    assert raw_before["adjClose"] == pytest.approx(float(before["close"]) * 4)
    assert raw_before["volume"] == pytest.approx(float(before["volume"]) / 4, abs=1)


def test_without_dates_five_years_are_served() -> None:
    assert 1253 <= len(rows(eod_full)) <= 1258


def test_from_alone_reaches_to_today_and_to_alone_five_years_back() -> None:
    assert rows(eod_full, since="2025-02-27")[0]["date"] == TUESDAY
    upto = rows(eod_full, upto="2015-06-30")
    assert (upto[0]["date"], upto[-1]["date"]) == ("2015-06-30", "2010-06-30")


def test_both_ends_of_the_range_are_included() -> None:
    assert len(rows(eod_full, since="2025-03-03", upto=TUESDAY)) == 2
    assert len(rows(eod_full, since=TUESDAY, upto=TUESDAY)) == 1


def test_five_thousand_rows_are_the_most_and_the_oldest_are_lost() -> None:
    served = rows(eod_full, since="1980-01-01")
    assert len(served) == 5000
    assert served[0]["date"] == TUESDAY
    assert str(served[-1]["date"]).startswith("2005-")


def test_end_of_day_range_in_reverse_is_empty() -> None:
    assert rows(eod_full, since=TUESDAY, upto="2025-03-01") == []


def test_future_and_weekend_are_empty() -> None:
    assert rows(eod_full, since="2025-03-05") == []
    assert rows(eod_full, since="2025-03-01", upto="2025-03-02") == []
    assert rows(chart_hourly, since="2025-03-01", upto="2025-03-02") == []


def test_bad_date_and_unknown_parameters_are_ignored() -> None:
    plain = rows(eod_full)
    assert rows(eod_full, since="yesterday", upto="2025-02-30", limit="3") == plain


def test_today_is_served_while_the_session_runs() -> None:
    assert rows(eod_full, at=NOON)[0]["date"] == TUESDAY
    assert rows(chart_hourly, at=NOON)[0]["date"] == f"{TUESDAY} 11:30:00"


def test_hours_look_back_ninety_days_from_the_end() -> None:
    served = rows(chart_hourly, since="2010-01-01", upto="2024-06-28")
    assert served[0]["date"] == "2024-06-28 15:30:00"
    assert served[-1]["date"] == "2024-04-01 09:30:00"
    assert 420 <= len(served) <= 441
    assert 380 <= len(rows(chart_hourly)) <= 434


def test_hourly_range_in_reverse_is_the_last_day() -> None:
    served = rows(chart_hourly, since=TUESDAY, upto="2025-02-28")
    assert {str(row["date"])[:10] for row in served} == {"2025-02-28"}


@given(*[st.one_of(st.none(), st.dates(date(1990, 1, 1), date(2030, 1, 1)))] * 2)
def test_hourly_range_is_never_longer_than_the_look_back(
    first: date | None, last: date | None
) -> None:
    start, end = hourly_range(first, last, date(2025, 3, 4))
    assert end == (last or date(2025, 3, 4))
    assert 0 <= (end - start).days < 90


@pytest.mark.parametrize(("limit", "count"), [("2", 2), ("0", 0), ("5000", 5), ("-1", 5), ("x", 5)])
def test_limit_bounds_the_splits(limit: str, count: int) -> None:
    assert len(rows(splits, limit=limit)) == count


def test_stock_list_holds_the_demo_tickers() -> None:
    listed = [row["symbol"] for row in rows(stock_list)]
    assert set(demo_tickers()) <= set(listed)
    assert len(listed) == len(set(listed)) == 726


@pytest.mark.parametrize("path", sorted(set(ENDPOINTS) - {"stock-list"}))
def test_unknown_symbol_is_two_bytes(path: str) -> None:
    body = ENDPOINTS[path].body(Call(f"stable/{path}", {"symbol": "ZZZZ9"}), HISTORY, EVENING)
    assert body == recorded("empty_200_unknown_symbol.json")


def test_new_year_is_told_by_the_exchanges_clock() -> None:
    at = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)  # still 2024 in New York
    assert rows(eod_full, at=at)[0]["date"] == "2024-12-31"
