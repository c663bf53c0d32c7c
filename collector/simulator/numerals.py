"""Numbers as JavaScript prints them: FMP's bodies come from ``JSON.stringify``.

The rules are those of ECMA-262, ``Number::toString``: the shortest digits that read back as the
same number, plain from 1e-6 up to below 1e21, with an exponent outside (``1e-7``, ``1e+21``), never
``127.0``, never ``-0``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PLAIN_BELOW = 21  # 1e21 is the first number with an exponent
PLAIN_FROM = -6  # 1e-6 is the last one without


def print_number(value: float | None) -> str:
    """``value`` as ``JSON.stringify`` prints it; nothing, NaN and the infinities are ``null``."""
    if value is None or not math.isfinite(value):
        return "null"
    sign = "-" if value < 0 else ""
    digits, exponent = _shortest(abs(float(value)))
    if digits == "0":
        return "0"
    return sign + _place(digits, exponent)


def print_numbers(values: Floats | Sequence[float]) -> list[str]:
    """`print_number` for a column, some ten times as fast."""
    column = np.ascontiguousarray(values, dtype=np.float64) + 0.0  # turns -0.0 into 0.0
    if not column.size:
        return []
    text = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    cells = (text[1:-1] + ",").replace(".0,", ",")[:-1].split(",")
    if "e" in text:  # orjson writes exponents in its own way, and sooner
        return [print_number(float(cell)) if "e" in cell else cell for cell in cells]
    return cells


def _shortest(value: float) -> tuple[str, int]:
    """Digits d1 d2 … and exponent e of d1.d2… × 10^e; Python's ``repr`` is the shortest too."""
    mantissa, _, power = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    zeros = len(whole + fraction) - len(digits)
    return digits.rstrip("0") or "0", len(whole) - 1 - zeros + int(power or 0)


def _place(digits: str, exponent: int) -> str:
    """Set the decimal point, or write an exponent."""
    if not PLAIN_FROM <= exponent < PLAIN_BELOW:
        fraction = "." + digits[1:] if len(digits) > 1 else ""
        return f"{digits[0]}{fraction}e{exponent:+d}"
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    padded = digits.ljust(exponent + 1, "0")
    whole, fraction = padded[: exponent + 1], padded[exponent + 1 :]
    return f"{whole}.{fraction}" if fraction else whole
