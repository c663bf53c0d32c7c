"""Bodies made before, with ETag and compressed form, up to a number of bytes."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property

from collector.simulator.layout import etag

GZIP_LEVEL = 1  # nginx's own default
GZIP_FORMAT = 31  # of zlib's ``wbits``


class Page:
    """One body; what derives from it is made when first asked for."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    @cached_property
    def etag(self) -> str:
        """See `layout.etag`."""
        return etag(self.body)

    @cached_property
    def zipped(self) -> bytes:
        """The body in gzip, the same bytes every time: no file name, no instant."""
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
        return packer.compress(self.body) + packer.flush()


class Pages:
    """The pages used last, holding at most ``limit`` bytes of uncompressed bodies."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> Page:
        """The page of ``key``, made now if it is not kept."""
        page = self._pages.get(key)
        if page is None:
            page = Page(make())
            self._pages[key] = page
            self._held += self._weight(page)
            self._trim()
        else:
            self._pages.move_to_end(key)
        return page

    def __len__(self) -> int:
        return len(self._pages)

    def _trim(self) -> None:
        while self._held > self._limit and len(self._pages) > 1:
            _, oldest = self._pages.popitem(last=False)
            self._held -= self._weight(oldest)

    @staticmethod
    def _weight(page: Page) -> int:
        return len(page.body) + 1000  # the objects around it
