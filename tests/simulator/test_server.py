"""The server as a client meets it: headers, chunks, gzip, quota, log and script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import orjson
import pytest

from collector.simulator.app import Simulator, SimulatorConfig, serve
from collector.simulator.history import GeneratedBars
from collector.simulator.layout import etag
from collector.simulator.script import Rule
from tests.simulator.wire import EVENING, get, recorded

FULL = "/historical-price-eod/full"
RECENT = f"{FULL}?symbol=AAPL&from=2025-02-03"
RECORDED_HEADERS = {
    "Server": "nginx/1.18.0 (Ubuntu)",
    "Content-Type": "application/json; charset=utf-8",
    "Transfer-Encoding": "chunked",
    "Connection": "keep-alive",
    "X-Powered-By": "Express",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, content-type, auth-token, Authorization,"
    " stripe-signature, APPS, publicauthkey, privateauthkey",
    "Access-Control-Max-Age": "3600",
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Accept-Encoding",
    "X-Frame-Options": "SAMEORIGIN",
}


@pytest.fixture
def simulator() -> Simulator:
    """Return a simulator whose clock stands still on an evening."""
    return Simulator(SimulatorConfig(clock=lambda: EVENING))


@pytest.fixture
async def base_url(simulator: Simulator) -> AsyncIterator[str]:
    """Lend the URL at which `simulator` serves."""
    async with simulator.serve() as url:
        yield url


async def test_headers_are_the_recorded_ones_and_no_others(base_url: str) -> None:
    answer = await get(base_url, RECENT, apikey="k")
    varying = {name: answer.headers.pop(name) for name in ("Date", "Etag")}
    assert answer.status == 200
    assert answer.headers == RECORDED_HEADERS
    assert varying["Etag"] == etag(answer.body)
    assert varying["Date"].endswith(" GMT")


async def test_gzip_is_sent_to_who_asks_for_it(base_url: str) -> None:
    plain = await get(base_url, RECENT, apikey="k")
    zipped = await get(base_url, RECENT, apikey="k", Accept_Encoding="gzip, deflate")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.body == plain.body
    assert len(zipped.sent) < len(plain.sent) / 3
    assert zipped.headers["Etag"] == plain.headers["Etag"]


async def test_empty_answer_is_two_bytes_in_gzip_too(base_url: str) -> None:
    answer = await get(base_url, f"{FULL}?symbol=ZZZZ9&apikey=k", Accept_Encoding="gzip")
    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.headers["Content-Encoding"] == "gzip"


async def test_gzip_can_be_switched_off() -> None:
    async with serve(SimulatorConfig(gzip=False)) as url:
        answer = await get(url, f"{FULL}?symbol=ZZZZ9&apikey=k", Accept_Encoding="gzip")
    assert "Content-Encoding" not in answer.headers
    assert answer.sent == b"[]"


async def test_error_has_its_length_and_neither_gzip_nor_a_hint_when_to_come_back(
    base_url: str,
) -> None:
    answer = await get(base_url, RECENT, Accept_Encoding="gzip")
    assert answer.status == 401
    assert answer.headers["Content-Length"] == "184"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Etag"].startswith('W/"b8-')
    assert not answer.headers.keys() & {"Transfer-Encoding", "Content-Encoding", "Retry-After"}
    assert not any(name.startswith("X-RateLimit") for name in answer.headers)


async def test_plain_text_error_comes_as_json_by_name(base_url: str) -> None:
    answer = await get(base_url, FULL, apikey="k")
    assert (answer.status, answer.body) == (400, recorded("err_400_missing_parameter_symbol.txt"))
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_key_is_taken_from_header_or_query(base_url: str) -> None:
    by_header = await get(base_url, RECENT, apikey="k")
    by_query = await get(base_url, f"{RECENT}&apikey=k")
    assert by_header.body == by_query.body
    assert (by_header.status, by_query.status) == (200, 200)
    assert (await get(base_url, f"{RECENT}&apikey=")).status == 401


async def test_slash_at_the_end_of_a_path_is_accepted(base_url: str) -> None:
    answer = await get(base_url, "/splits/?symbol=AAPL&apikey=k")
    assert answer.body == recorded("fix_splits_AAPL.json")


async def test_index_symbol_is_read_percent_encoded(base_url: str) -> None:
    answer = await get(base_url, f"{FULL}?symbol=%5EGSPC&from=2025-03-04&apikey=k")
    assert [row["symbol"] for row in orjson.loads(answer.body)] == ["^GSPC"]


async def test_burst_beyond_the_quota_gets_429_and_never_one_more() -> None:
    simulator = Simulator(SimulatorConfig(requests_per_minute=25, clock=lambda: EVENING))
    async with simulator.serve() as url, aiohttp.ClientSession(headers={"apikey": "k"}) as session:

        async def status() -> tuple[int, bytes]:
            async with session.get(f"{url}/splits?symbol=AAPL") as answer:
                return answer.status, await answer.read()

        answers = await asyncio.gather(*(status() for _ in range(60)))
    refused = [body for code, body in answers if code == 429]
    assert len(refused) == 35
    assert set(refused) == {recorded("err_429_limit_reach.json")}
    assert [entry.status for entry in simulator.log].count(200) == 25


async def test_log_tells_each_call_without_its_key(simulator: Simulator, base_url: str) -> None:
    before = datetime.now(UTC).timestamp()
    answer = await get(base_url, "/splits?symbol=AAPL&apikey=secret", Accept_Encoding="gzip")
    await get(base_url, "/nonsense", apikey="secret")
    first, second = simulator.log
    assert (first.path, first.query, first.status) == ("/stable/splits", {"symbol": "AAPL"}, 200)
    assert first.bytes == len(answer.sent)
    assert (second.path, second.status, second.bytes) == ("/stable/nonsense", 404, 2)
    assert first.monotonic < second.monotonic
    assert before <= first.wall <= datetime.now(UTC).timestamp()
    assert "secret" not in repr(list(simulator.log))


async def test_log_is_read_over_http_and_is_not_in_itself(
    simulator: Simulator, base_url: str
) -> None:
    await get(base_url, "/splits?symbol=AAPL", apikey="k")
    root = base_url.removesuffix("/stable")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{root}/__log") as answer:
            rows = await answer.json()
        async with session.delete(f"{root}/__log") as answer:
            assert await answer.json() == rows
    assert set(rows[0]) == {"monotonic", "wall", "path", "query", "status", "bytes"}
    assert [(row["path"], row["query"]) for row in rows] == [("/stable/splits", {"symbol": "AAPL"})]
    assert len(simulator.log) == 0


async def test_log_keeps_the_newest_calls_only() -> None:
    simulator = Simulator(SimulatorConfig(log_entries=2))
    async with simulator.serve() as url:
        for path in ("/a", "/b", "/c"):
            await get(url, path, apikey="k")
    assert [entry.path for entry in simulator.log] == ["/stable/b", "/stable/c"]


async def test_latency_delays_answers_side_by_side() -> None:
    async with serve(SimulatorConfig(latency_s=0.2)) as url:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(get(url, "/splits?symbol=AAPL", apikey="k") for _ in range(8)))
        assert 0.2 <= loop.time() - begun < 1.0


async def test_scripted_call_fails_and_its_neighbours_do_not(
    simulator: Simulator, base_url: str
) -> None:
    simulator.script(Rule(path="splits", symbol="AAPL", call=2, status=500, body="<html>"))
    asked = ["AAPL", "MSFT", "AAPL", "AAPL"]
    answers = [await get(base_url, f"/splits?symbol={symbol}", apikey="k") for symbol in asked]
    assert [answer.status for answer in answers] == [200, 200, 500, 200]
    assert answers[2].body == b"<html>"


async def test_scripted_answer_has_its_own_type_and_headers(
    simulator: Simulator, base_url: str
) -> None:
    headers = {"Retry-After": "3", "Server": "other"}
    simulator.script(Rule(status=429, body="{}", content_type="text/html", headers=headers))
    answer = await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert (answer.status, answer.body) == (429, b"{}")
    assert answer.headers["Content-Type"] == "text/html"
    assert headers.items() <= answer.headers.items()


async def test_scripted_body_without_a_status_is_a_good_answer(
    simulator: Simulator, base_url: str
) -> None:
    simulator.script(Rule(body='{"Error Message": "x"}'))
    answer = await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert (answer.status, answer.body) == (200, b'{"Error Message": "x"}')


async def test_first_rule_that_concerns_a_call_decides(simulator: Simulator, base_url: str) -> None:
    simulator.script(Rule(symbol="AAPL", status=502), Rule(status=503))
    symbols = ["AAPL", "MSFT"]
    answers = [await get(base_url, f"/splits?symbol={symbol}", apikey="k") for symbol in symbols]
    assert [answer.status for answer in answers] == [502, 503]


async def test_delay_comes_before_the_simulators_own_answer(
    simulator: Simulator, base_url: str
) -> None:
    simulator.script(Rule(delay_s=0.2))
    begun = asyncio.get_running_loop().time()
    answer = await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert asyncio.get_running_loop().time() - begun >= 0.19  # timers count milliseconds
    assert answer.body == recorded("fix_splits_AAPL.json")


async def test_truncated_body_is_framed_as_if_it_were_whole(
    simulator: Simulator, base_url: str
) -> None:
    simulator.script(Rule(truncate_to=40))
    answer = await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert answer.body == recorded("fix_splits_AAPL.json")[:40]


async def test_dropped_connection_has_no_answer(simulator: Simulator, base_url: str) -> None:
    simulator.script(Rule(close=True))
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert caught.value.partial == b""
    assert [(entry.status, entry.bytes) for entry in simulator.log] == [(0, 0)]


async def test_connection_dropped_in_the_body_announced_more(
    simulator: Simulator, base_url: str
) -> None:
    simulator.script(Rule(truncate_to=40, close=True))
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await get(base_url, "/splits?symbol=AAPL", apikey="k")
    assert caught.value.partial == recorded("fix_splits_AAPL.json")[:40]
    assert caught.value.expected == 652


async def test_script_is_ordered_over_http_and_ended_by_an_empty_one(base_url: str) -> None:
    root = base_url.removesuffix("/stable")
    rule = {"path": "splits", "call": None, "status": 503, "headers": {"X-Fault": "1"}}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{root}/__script", json=[rule]) as ordered:
            assert ordered.status == 204
        faulty = await get(base_url, "/splits?symbol=AAPL", apikey="k")
        async with session.post(f"{root}/__script", json=[]):
            pass
    assert (faulty.status, faulty.headers["X-Fault"]) == (503, "1")
    assert (await get(base_url, "/splits?symbol=AAPL", apikey="k")).status == 200


@pytest.mark.parametrize("text", ["not json", "7", '[{"pfad": "x"}]', "[3]"])
async def test_script_that_is_none_is_refused(
    simulator: Simulator, base_url: str, text: str
) -> None:
    simulator.script(Rule(status=418))
    url = f"{base_url.removesuffix('/stable')}/__script"
    async with aiohttp.ClientSession() as session, session.post(url, data=text) as answer:
        assert answer.status == 400
        assert "rules" in await answer.text()
    assert (await get(base_url, "/splits", apikey="k")).status == 418


async def test_answers_move_with_the_clock() -> None:
    instants = [EVENING - timedelta(days=1), EVENING]
    simulator = Simulator(SimulatorConfig(clock=lambda: instants[0]))
    async with simulator.serve() as url:
        early = await get(url, RECENT, apikey="k")
        instants.pop(0)
        late = await get(url, RECENT, apikey="k")
    dates = [[row["date"] for row in orjson.loads(answer.body)] for answer in (early, late)]
    assert dates[1] == ["2025-03-04", *dates[0]]


async def test_default_is_made_up_bars_of_today() -> None:
    config = SimulatorConfig()
    assert isinstance(config.history, GeneratedBars)
    async with serve(config) as url:
        answer = await get(url, f"{FULL}?symbol=MSFT&apikey=k")
    newest = datetime.fromisoformat(orjson.loads(answer.body)[0]["date"]).date()
    assert timedelta(0) <= datetime.now(UTC).date() - newest <= timedelta(days=5)


async def test_port_is_free_again_afterwards(simulator: Simulator) -> None:
    async with simulator.serve() as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            await simulator.serve(port=port).__aenter__()
    async with simulator.serve(port=port) as again:
        assert again == url


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_both_loops_serve(simulator: Simulator) -> None:
    async with simulator.serve() as url:
        assert (await get(url, "/splits?symbol=AAPL", apikey="k")).status == 200
