"""What the server refuses, in FMP's words and in FMP's order (FMP.md, section 2)."""

from __future__ import annotations

from datetime import date

import pytest

from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.call import Call
from collector.simulator.plan import HOURLY, PLANS, Plan, years_before
from tests.simulator.wire import EVENING, recorded

FULL = "stable/historical-price-eod/full"
TIGHT = Plan(
    requests_per_minute=1,
    earliest_from=date(2020, 3, 4),
    refused_symbols=frozenset({"GME"}),
    refused_paths=frozenset({HOURLY}),
)
FREE = PLANS["free"]


def ask(
    call: Call, plan: Plan = TIGHT, keys: frozenset[str] | None = None
) -> tuple[int, bytes, str]:
    """Return status, body and content type of a first call."""
    simulator = Simulator(SimulatorConfig(plan=plan, keys=keys, clock=lambda: EVENING))
    status, page, content_type = simulator.page(call, 0.0)
    return status, page.body, content_type


CASES = [
    (Call(FULL, {"symbol": "AAPL"}), 401, "err_401_invalid_or_missing_key.json"),
    (Call("stable/nonsense"), 401, "err_401_invalid_or_missing_key.json"),
    (Call("stable/nonsense", key="k"), 404, "err_404_unknown_path.json"),
    (Call("stable/historical-price-eod", key="k"), 404, "err_404_unknown_path.json"),
    (
        Call("stable/historical-chart/2hour", {"symbol": "AAPL"}, "k"),
        404,
        "err_404_unknown_path.json",
    ),
    (Call("stable", key="k"), 404, "err_404_unknown_path.json"),
    (Call("", key="k"), 404, "err_404_unknown_path.json"),
    (Call("api/v3/historical-price-full/AAPL", key="k"), 403, "err_403_legacy_endpoint.json"),
    (Call(f"stable/{HOURLY}", {"symbol": "AAPL"}, "k"), 402, "err_402_restricted_endpoint.txt"),
    (Call(f"stable/{HOURLY}", key="k"), 402, "err_402_restricted_endpoint.txt"),
    (Call(FULL, key="k"), 400, "err_400_missing_parameter_symbol.txt"),
    (Call(FULL, {"symbol": ""}, "k"), 400, "err_400_missing_parameter_symbol.txt"),
    (Call("stable/splits", key="k"), 400, "err_400_missing_parameter_symbol.txt"),
    (Call(FULL, {"symbol": "GME"}, "k"), 402, "err_402_symbol.txt"),
    (Call(FULL, {"symbol": "GME", "from": "1999-01-01"}, "k"), 402, "err_402_symbol.txt"),
    (Call(FULL, {"symbol": "AAPL", "from": "2020-03-03"}, "k"), 402, "err_402_from_value.txt"),
]


@pytest.mark.parametrize(("call", "status", "name"), CASES)
def test_refusal_has_the_recorded_status_and_bytes(call: Call, status: int, name: str) -> None:
    assert ask(call) == (status, recorded(name), "application/json; charset=utf-8")


def test_key_refusal_is_184_bytes() -> None:
    assert len(ask(Call(FULL))[1]) == 184


def test_limit_above_the_plan_is_refused_in_the_recorded_words() -> None:
    query = {"symbol": "AAPL", "limit": "6"}
    assert ask(Call("stable/splits", query, "k"), FREE)[:2] == (
        402,
        recorded("err_402_limit_value.txt"),
    )
    assert ask(Call("stable/splits", query | {"limit": "5"}, "k"), FREE)[0] == 200


@pytest.mark.parametrize(("key", "status"), [("mine", 200), ("other", 401), ("", 401)])
def test_only_the_named_keys_are_accepted(key: str, status: int) -> None:
    assert ask(Call(FULL, {"symbol": "AAPL"}, key), keys=frozenset({"mine"}))[0] == status


def test_quota_comes_after_the_key_and_before_all_else() -> None:
    simulator = Simulator(SimulatorConfig(plan=TIGHT))
    limit_reached = (429, recorded("err_429_limit_reach.json"))
    assert simulator.page(Call("stable/nonsense", key="k"), 0.0)[0] == 404
    assert simulator.page(Call("stable/nonsense"), 1.0)[0] == 401
    for call in (
        Call("stable/nonsense", key="k"),
        Call(f"stable/{HOURLY}", key="k"),
        Call(FULL, key="k"),
    ):
        status, page, _ = simulator.page(call, 2.0)
        assert (status, page.body) == limit_reached


def test_call_without_a_key_is_not_counted() -> None:
    simulator = Simulator(SimulatorConfig(requests_per_minute=1))
    assert simulator.page(Call(FULL), 0.0)[0] == 401
    assert simulator.page(Call("stable/nonsense", key="k"), 0.0)[0] == 404


def test_from_at_the_plans_edge_is_served() -> None:
    call = Call(FULL, {"symbol": "AAPL", "from": "2020-03-04"}, "k")
    assert ask(call)[0] == 200


def test_day_quota_is_enforced_beside_the_minutes() -> None:
    simulator = Simulator(SimulatorConfig(plan=FREE, clock=lambda: EVENING))
    call = Call(FULL, {"symbol": "AAPL", "from": "2025-03-01"}, "k")
    answers = [simulator.page(call, 300.0 * number)[0] for number in range(251)]
    assert answers == [200] * 250 + [429]
    assert simulator.page(call, 86_400.0)[0] == 200


@pytest.mark.parametrize(
    ("plan", "symbol", "first", "path", "status"),
    [
        ("free", "AAPL", "2020-03-05", FULL, 200),
        ("free", "AAPL", "2019-03-05", FULL, 402),
        ("free", "GME", "2025-01-01", FULL, 402),
        ("free", "AAPL", "2025-01-01", f"stable/{HOURLY}", 402),
        ("starter", "GME", "2025-01-01", FULL, 200),
        ("starter", "AAPL", "2019-03-05", FULL, 402),
        ("starter", "AAPL", "2025-01-01", f"stable/{HOURLY}", 200),
        ("premium", "AAPL", "1990-01-01", FULL, 200),
        ("ultimate", "RR.L", "1990-01-01", FULL, 200),
    ],
)
def test_plans_allow_what_fmp_sells(
    plan: str, symbol: str, first: str, path: str, status: int
) -> None:
    assert ask(Call(path, {"symbol": symbol, "from": first}, "k"), PLANS[plan])[0] == status


def test_years_before_a_leap_day_end_on_the_28th() -> None:
    assert years_before(date(2024, 2, 29), 5) == date(2019, 2, 28)
    assert years_before(date(2024, 2, 29), 4) == date(2020, 2, 29)
