"""Pages are made once, and dropped when they weigh too much."""

from __future__ import annotations

import zlib

from collector.simulator.layout import etag
from collector.simulator.pages import Pages


def test_page_is_made_once_while_it_is_kept() -> None:
    made: list[str] = []
    pages = Pages(limit=10_000)

    def make() -> bytes:
        made.append("page")
        return b"body"

    first, second = pages.get("key", make), pages.get("key", make)
    assert first is second
    assert made == ["page"]


def test_page_used_longest_ago_goes_first() -> None:
    pages = Pages(limit=3 * 1000 + 3 * 500)
    for key in "abc":
        pages.get(key, lambda: b"x" * 500)
    kept = pages.get("a", lambda: b"new")
    pages.get("d", lambda: b"x" * 500)
    assert len(pages) == 3
    assert pages.get("a", lambda: b"new") is kept
    assert pages.get("b", lambda: b"made again").body == b"made again"


def test_page_heavier_than_the_limit_is_served_all_the_same() -> None:
    pages = Pages(limit=10)
    assert pages.get("a", lambda: b"x" * 100).body == b"x" * 100
    assert pages.get("b", lambda: b"y").body == b"y"
    assert len(pages) == 1


def test_compressed_form_and_etag_are_of_the_body() -> None:
    page = Pages(limit=10_000).get("key", lambda: b"body" * 100)
    assert zlib.decompress(page.zipped, 31) == page.body
    assert page.zipped is page.zipped
    assert page.etag == etag(page.body)
