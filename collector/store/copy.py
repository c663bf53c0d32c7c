"""Bar frames in PostgreSQL's binary COPY format, without a Python step per row. Pure.

Format: PostgreSQL's documentation of COPY, "Binary Format": a signature, then for each row the
number of fields and each field with its length, all big-endian, then -1. A ``date`` counts days and
a ``timestamptz`` microseconds from 2000-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from collector.market.bars import VALUES
from collector.market.timeframe import Timeframe

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
FIELDS = 2 + len(VALUES)
EPOCH_DAYS = 10_957  # 1970-01-01 to 2000-01-01
EPOCH_MICROSECONDS = EPOCH_DAYS * 86_400_000_000
CHUNK_ROWS = 10_000  # encoded at once: 1 MB


def columns(timeframe: Timeframe) -> list[str]:
    """The columns of a price table, in the order in which rows are encoded."""
    return ["ticker", timeframe.instant, *VALUES]


def encode(frame: pl.DataFrame, timeframe: Timeframe) -> bytes:
    """Return a bar frame with a ``ticker`` column before it as one whole COPY stream."""
    return b"".join(_stream(frame, timeframe))


def _stream(frame: pl.DataFrame, timeframe: Timeframe) -> Iterator[bytes]:
    yield HEADER
    for part in frame.iter_slices(CHUNK_ROWS):
        yield b"".join(_rows(part, timeframe))
    yield TRAILER


def _rows(frame: pl.DataFrame, timeframe: Timeframe) -> Iterator[bytes]:
    """Yield the rows of each stretch of one ticker: its bytes glued before the rest of a row."""
    tails = _tails(frame, timeframe)
    stretches = frame.get_column("ticker").rle().struct.unnest()
    start = 0
    for length, ticker in stretches.iter_rows():
        name = ticker.encode()
        head = np.frombuffer(
            FIELDS.to_bytes(2, "big") + len(name).to_bytes(4, "big") + name, np.uint8
        )
        rows = np.empty((length, head.size + tails.shape[1]), np.uint8)
        rows[:, : head.size] = head
        rows[:, head.size :] = tails[start : start + length]
        start += length
        yield rows.tobytes()


def _tails(frame: pl.DataFrame, timeframe: Timeframe) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return all but the ticker of every row, a matrix of bytes with one line a row."""
    size = 8 if timeframe is Timeframe.HOUR else 4
    fields = [("instant", f">i{size}"), *((name, ">f8") for name in VALUES)]
    layout = [part for name, kind in fields for part in ((f"{name}_size", ">i4"), (name, kind))]
    rows = np.empty(frame.height, dtype=np.dtype(layout))
    epoch = EPOCH_MICROSECONDS if timeframe is Timeframe.HOUR else EPOCH_DAYS
    rows["instant_size"] = size
    rows["instant"] = frame.get_column(timeframe.instant).to_physical().to_numpy() - epoch
    for name in VALUES:
        rows[f"{name}_size"] = 8
        rows[name] = frame.get_column(name).to_numpy()
    return rows.view(np.uint8).reshape(frame.height, -1)
