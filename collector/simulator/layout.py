"""The layout of FMP's bodies, ``JSON.stringify(rows, null, 2)``, and the ETag of Express."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

import orjson

ETAG_DIGEST = 27  # characters of base64 that 20 bytes of SHA-1 need without padding


def rows_body(columns: Mapping[str, str | Sequence[str]]) -> bytes:
    """An array of flat rows from columns of JSON texts, in the order given.

    A column that is one text holds it in every row. Without a row the body is ``[]``, two bytes;
    there is never a final newline.
    """
    template = (
        "  {\n" + ",\n".join(_member(name, cells) for name, cells in columns.items()) + "\n  }"
    )
    lists = [cells for cells in columns.values() if not isinstance(cells, str)]
    rows = [template % cells for cells in zip(*lists, strict=True)]
    return ("[\n" + ",\n".join(rows) + "\n]").encode() if rows else b"[]"


def objects_body(rows: Sequence[Mapping[str, object]]) -> bytes:
    """An array of objects without fractions (``orjson`` prints those unlike JavaScript)."""
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2)


def quoted(text: str) -> str:
    """``text`` as a JSON string; non-ASCII letters stay as they are."""
    return orjson.dumps(text).decode()


def etag(body: bytes) -> str:
    """The weak ETag: length in hex and SHA-1 in base64 of the uncompressed body (FMP.md, 1)."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return f'W/"{len(body):x}-{base64.b64encode(digest).decode()[:ETAG_DIGEST]}"'


def _member(name: str, cells: str | Sequence[str]) -> str:
    cell = cells.replace("%", "%%") if isinstance(cells, str) else "%s"
    return f"    {quoted(name)}: {cell}"
