"""Numbers come out as JavaScript prints them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.simulator.numerals import print_number, print_numbers

NODE = shutil.which("node")
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PRICES = st.integers(0, 10**10).map(lambda units: units / 10_000)

# From ECMA-262's rules, and recorded in FMP's bodies.
KNOWN = {
    0.0: "0",
    127.0: "127",
    -3.5: "-3.5",
    0.1 + 0.2: "0.30000000000000004",
    0.00005: "0.00005",
    0.000001: "0.000001",
    0.0000015: "0.0000015",
    1e-7: "1e-7",
    1.5e-7: "1.5e-7",
    6.3e-10: "6.3e-10",
    123456789012345680.0: "123456789012345680",
    1e16: "10000000000000000",
    1e20: "100000000000000000000",
    123e18: "123000000000000000000",
    999999999999999900000.0: "999999999999999900000",
    1e21: "1e+21",
    1.8398528382123738e23: "1.8398528382123738e+23",
    588656.8568699993: "588656.8568699993",
    5e-324: "5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
}


@pytest.mark.parametrize(("value", "text"), KNOWN.items(), ids=KNOWN.values())
def test_number_is_printed_by_the_rules_of_javascript(value: float, text: str) -> None:
    assert print_number(value) == text
    assert print_numbers([value]) == [text]


def test_zero_has_no_sign() -> None:
    assert print_number(-0.0) == "0"
    assert print_numbers([-0.0, -1.0]) == ["0", "-1"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(value: float | None) -> None:
    assert print_number(value) == "null"


@given(FINITE)
def test_printed_number_reads_back_as_itself(value: float) -> None:
    assert float(print_number(value)) == value


@given(FINITE)
def test_exponent_appears_below_a_millionth_and_from_1e21_only(value: float) -> None:
    plain = value == 0 or 1e-6 <= abs(value) < 1e21
    assert ("e" in print_number(value)) is not plain


@given(FINITE)
def test_point_is_never_at_an_end_of_the_digits(value: float) -> None:
    mantissa = print_number(value).lstrip("-").partition("e")[0]
    assert not mantissa.startswith(".")
    assert not mantissa.endswith((".", ".0"))


@given(
    st.lists(st.one_of(FINITE, PRICES, st.just(math.nan), st.integers(-(2**60), 2**60).map(float)))
)
def test_column_is_printed_as_its_numbers_are(values: list[float]) -> None:
    assert print_numbers(np.array(values)) == [print_number(value) for value in values]


@given(st.lists(PRICES, min_size=1))
def test_column_of_prices_needs_no_slow_way(values: list[float]) -> None:
    assert print_numbers(values) == [print_number(value) for value in values]


def test_column_may_be_a_view_in_reverse() -> None:
    assert print_numbers(np.array([1.0, 2.5, 3.0])[::-1]) == ["3", "2.5", "1"]


@pytest.mark.skipif(NODE is None, reason="no node on the PATH to compare with")
def test_node_prints_the_same_numbers() -> None:
    assert NODE is not None
    patterns = np.random.default_rng(20250304).integers(0, 2**63, 2000, dtype=np.uint64)
    anything = [value for value in patterns.view(np.float64).tolist() if math.isfinite(value)]
    powers = [mantissa * 10.0**power for mantissa in (1, 1.5, 9.99) for power in range(-12, 25)]
    values = [*KNOWN, *anything, *powers]
    program = "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync(0)).map(String)))"
    answer = subprocess.run(
        [NODE, "-e", program], input=json.dumps(values), capture_output=True, text=True, check=True
    )
    assert [print_number(value) for value in values] == json.loads(answer.stdout)
