"""The key stands in memory and in the header of the call, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from collector.errors import FetchError
from collector.fmp.client import FmpClient
from collector.fmp.fetch import fetch
from collector.market.timeframe import Timeframe
from tests.fmp.server import KEY, Drop, Scripted, Seen, asked, reply
from tests.fmp.test_client import BOTH_LOOPS, REQUEST
from tests.fmp.test_fetch import ELEVEN_YEARS

FORMS = (KEY, quote(KEY), base64.b64encode(KEY.encode()).decode(), KEY[:20])


def dropped(sent: bytes) -> bytes:
    """Abort the connection after ``sent``."""
    raise Drop(sent)


FAULTS: list[Callable[[], bytes]] = [
    lambda: reply(f"your key {KEY} is bad", 401),
    lambda: reply("x" * 170 + f" {KEY}", 500),
    lambda: reply(f'{{"Error Message": "bad key {KEY}"}}'),
    lambda: reply(f'{{"message": "{"x " * 90}{KEY}"}}', 400),
    lambda: reply(f"<a href='https://fmp.example/?apikey={KEY}'>{KEY}"),
    lambda: reply("[" + f"{KEY} " * 500 + "]"),
    lambda: reply(f'[{{"symbol": "{KEY[:9]}", "date": "2026-01-02"}}]'),
    lambda: reply(f'{{"{KEY[:9]}": []}}'),
    lambda: reply(b"", 302, Location=f"https://b.example/?apikey={KEY}"),
    lambda: reply(b"Limit Reach", 429, Retry_After=KEY[:9]),
    lambda: dropped(f"HTTP/1.1 200 {KEY}\x01 OK\r\n{KEY}\r\n\r\n".encode()),
    lambda: dropped(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nX: " + KEY.encode() + b"\r\n\r\n"),
    lambda: dropped(reply(KEY, Content_Length="999")),
    lambda: reply(KEY, Content_Encoding=KEY[:9]),
    lambda: dropped(b""),
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged at DEBUG, with tracebacks."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def everything(error: BaseException | None) -> Iterator[str]:
    """All that can be read of an error and of those behind it, the locals of our frames apart."""
    while error is not None:
        yield from (str(error), repr(error), str(error.args), str(vars(error)))
        yield "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__


@BOTH_LOOPS
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_and_no_log_line_holds_the_key(
    fault: Callable[[], bytes], log: io.StringIO
) -> None:
    """Not even where the server quotes it back; nor a URL, nor an error of aiohttp's."""
    asyncio.get_running_loop().set_debug(True)
    async with asked(Scripted(lambda _: fault()), attempts=2) as client:
        with pytest.raises(FetchError) as caught:
            await fetch(client, "AAPL", Timeframe.DAY, ELEVEN_YEARS, ZoneInfo("UTC"))
        logging.getLogger("test").error("failed", exc_info=caught.value)
        texts = [*everything(caught.value), repr(client), str(client.usage)]
    for text in texts:
        assert "127.0.0.1" not in text
        assert "aiohttp" not in text
    for text in [*texts, log.getvalue()]:
        assert not any(form in text for form in FORMS)


@BOTH_LOOPS
@pytest.mark.parametrize("fault", ["refused", "hangs", "dns", "tls"])
async def test_no_connection_error_holds_the_key(fault: str, log: io.StringIO) -> None:
    """aiohttp's own messages name the URL."""
    async with Scripted(_late, idle_s=0.6).serve() as url:
        urls = {
            "refused": "http://127.0.0.1:9",
            "hangs": url,
            "dns": "http://no.such.invalid",
            "tls": url.replace("http:", "https:"),
        }
        async with FmpClient(urls[fault], KEY, timeout_s=0.3, attempts=1) as client:
            with pytest.raises(FetchError) as caught:
                await client.get(REQUEST)
    assert KEY not in log.getvalue()
    for text in everything(caught.value):
        assert KEY not in text
        assert "127.0.0.1" not in text
        assert "invalid" not in text


async def _late(_: Seen) -> bytes:
    await asyncio.sleep(0.6)
    return reply()
