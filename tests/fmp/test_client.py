"""The client against a server that misbehaves."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from collector.errors import Failed, FetchError, Kind, Refused, Throttled, Transient
from collector.fmp.client import FmpClient, Waits, to_next_minute
from collector.fmp.endpoints import EOD, HOURLY, Request
from tests.fmp.server import KEY, Drop, Respond, Scripted, Seen, asked, recorded, reply, zipped

REQUEST = Request(EOD, (("symbol", "AAPL"),))
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def failure(respond: Respond, **options: object) -> FetchError:
    """The error of one call that is attempted once."""
    async with asked(Scripted(respond), **({"attempts": 1} | options)) as client:
        with pytest.raises(FetchError) as caught:
            await client.get(REQUEST)
    return caught.value


def first(answer: Callable[[], bytes], then: bytes = b"[]") -> Respond:
    """Answer the first request by ``answer`` and the others well."""
    return lambda seen: answer() if seen.number == 1 else reply(then)


def dropped(sent: bytes = b"") -> bytes:
    """Abort the connection after ``sent``."""
    raise Drop(sent)


@BOTH_LOOPS
async def test_the_body_comes_back_and_the_key_goes_in_the_header_alone() -> None:
    """Also: gzip is asked for and undone, and the usage counts the decompressed bytes."""
    server = Scripted(lambda _: zipped(recorded("stable_eod_full_AAPL_2023-01-01_2023-01-10.json")))
    async with asked(server) as client:
        body = await client.get(REQUEST)
    assert body == recorded("stable_eod_full_AAPL_2023-01-01_2023-01-10.json")
    assert server.seen[0].target == "/stable/historical-price-eod/full?symbol=AAPL"
    assert f"apikey: {KEY}" in server.seen[0].head
    assert "Accept-Encoding: gzip\r\n" in server.seen[0].head
    assert (client.usage.calls, client.usage.retries, client.usage.bytes) == (1, 0, len(body))


@BOTH_LOOPS
@pytest.mark.parametrize(
    "answer",
    [
        lambda: reply(b"no", 500),
        lambda: reply(b"<html>502</html>", 502),
        lambda: reply(b"<html>maintenance</html>"),
        lambda: reply(b'[{"symbol": "AAPL"'),
        lambda: dropped(reply(b"[]", Content_Length="99")),
        lambda: dropped(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1"),
        lambda: reply(zipped(b"[1]" * 999).partition(b"\r\n\r\n")[2][:-9], Content_Encoding="gzip"),
        lambda: reply(b"no gzip at all", Content_Encoding="gzip"),
        lambda: reply(b"[]", Content_Encoding="br"),
        lambda: dropped(b"HTTP/1.1 200 OK\r\n\r\n"),
        lambda: dropped(b"nonsense\r\n\r\n"),
        lambda: dropped(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
        dropped,
    ],
)
async def test_what_may_be_a_whim_of_the_server_is_tried_again(answer: Callable[[], bytes]) -> None:
    """5xx, HTML, cut-off and broken bodies, lost connections, no HTTP at all."""
    server = Scripted(first(answer))
    async with asked(server) as client:
        assert await client.get(REQUEST) == b"[]"
    assert len(server.seen) == 2 == client.usage.calls
    assert client.usage.retries == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda: reply(b"<p>x</p>"), Kind.BAD_BODY, "HTML page, first 80 characters: <p>x</p>"),
        (lambda: reply(b"", 503), Kind.SERVER, "HTTP 503"),
        (lambda: dropped(reply(b"[", Content_Length="99")), Kind.NETWORK, "cut off"),
        (lambda: dropped(b"HTTP/1.1 200 OK\r\n\r\n"), Kind.BAD_BODY, "missing"),
        (lambda: dropped(b"what?\r\n\r\n"), Kind.BAD_BODY, "not HTTP"),
        (lambda: reply(b"[]", Content_Length="-5"), Kind.BAD_BODY, "not HTTP"),
        (dropped, Kind.NETWORK, "connection was lost"),
    ],
)
async def test_a_fault_that_lasts_is_named(
    answer: Callable[[], bytes], kind: Kind, words: str
) -> None:
    """After the last attempt the kind and a short message say what was wrong."""
    error = await failure(lambda _: answer())
    assert isinstance(error, Transient)
    assert error.kind is kind
    assert words in str(error)


async def test_an_empty_body_that_was_announced_as_such_is_an_answer() -> None:
    """FMP has answered so; whether rows are missing is judged later."""
    async with asked(Scripted(lambda _: reply(b""))) as client:
        assert await client.get(REQUEST) == b""


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Nothing is sent to where it points, and the message names the host only."""
    other = Scripted(lambda _: reply())
    async with other.serve() as url:
        error = await failure(lambda _: reply(b"", status, Location=f"{url}?apikey={KEY}"))
    assert str(error) == "unexpected redirect to host 127.0.0.1"
    assert isinstance(error, Failed)
    assert not other.seen


@pytest.mark.parametrize("announced", [True, False])
async def test_a_gzip_bomb_is_refused_within_the_cap(*, announced: bool) -> None:
    """300 MB of zeros must not cost more than the cap."""
    bomb = zipped(bytes(100 * 2**20)) if announced else reply(bytes(3 * 2**20))
    tracemalloc.start()
    error = await failure(lambda _: bomb, max_body_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.kind is Kind.TOO_LARGE
    assert isinstance(error, Failed)
    assert "1048576" in str(error)
    assert peak < 8 * 2**20


async def test_a_server_that_never_answers_times_out() -> None:
    """A hung call ends at its deadline, and its connection with it."""

    async def hang(_: Seen) -> bytes:
        await asyncio.sleep(30)
        return b""

    server = Scripted(hang, idle_s=1)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    async with server.serve() as url:
        async with FmpClient(
            url, KEY, requests_per_minute=None, timeout_s=0.2, attempts=1
        ) as client:
            with pytest.raises(Transient) as caught:
                await client.get(REQUEST)
        assert loop.time() - started_at < 2
        server.nobody.set()  # what hangs does not see that its client is gone
    assert caught.value.kind is Kind.TIMEOUT


@BOTH_LOOPS
async def test_a_body_that_trickles_times_out() -> None:
    """Each byte comes in time, the whole does not."""
    gone = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        gone.set()

    listener = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with FmpClient(url, KEY, requests_per_minute=None, timeout_s=0.2, attempts=1) as client:
        with pytest.raises(Transient) as caught:
            await client.get(REQUEST)
        async with asyncio.timeout(5):
            await gone.wait()  # the connection is closed with the call, not with the client
    listener.close()
    assert caught.value.kind is Kind.TIMEOUT


async def test_no_server_is_a_network_error_and_no_call() -> None:
    """A call counts when its request was sent."""
    async with Scripted(lambda _: reply()).serve() as url:
        pass
    async with FmpClient(url, KEY, requests_per_minute=None, attempts=1) as client:
        with pytest.raises(Transient, match="no connection") as caught:
            await client.get(REQUEST)
    assert caught.value.kind is Kind.NETWORK
    assert client.usage.calls == 0


async def test_a_plain_server_behind_https_is_a_tls_error_that_is_not_tried_again() -> None:
    """Verification cannot be turned off, and trying again cannot help."""
    server = Scripted(lambda _: reply())

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with FmpClient(f"https://127.0.0.1:{port}", KEY, requests_per_minute=None) as client:
        with pytest.raises(Failed) as caught:
            await client.get(REQUEST)
    listener.close()
    assert caught.value.kind is Kind.TLS
    assert client.usage.retries == 0
    assert not server.seen


async def test_a_name_that_does_not_resolve_says_dns() -> None:
    """`.invalid` never resolves."""
    async with FmpClient("http://no.such.invalid", KEY, attempts=1) as client:
        with pytest.raises(Transient, match="dns") as caught:
            await client.get(REQUEST)
    assert caught.value.kind is Kind.NETWORK


@BOTH_LOOPS
async def test_calls_in_flight_are_bounded() -> None:
    """However many callers there are."""

    async def slowly(_: Seen) -> bytes:
        await asyncio.sleep(0.02)
        return reply()

    server = Scripted(slowly)
    async with asked(server, concurrency=3) as client:
        await asyncio.gather(*(client.get(REQUEST) for _ in range(20)))
    assert server.busiest == 3
    assert server.connections == 3


@BOTH_LOOPS
async def test_a_cancelled_call_leaves_no_connection_and_no_place_taken() -> None:
    """The next caller is served at once."""
    hanging = asyncio.Event()

    async def hang_once(seen: Seen) -> bytes:
        if seen.number == 1:
            hanging.set()
            await asyncio.sleep(0.2)
        return reply()

    server = Scripted(hang_once)
    async with asked(server, concurrency=1) as client:
        call = asyncio.create_task(client.get(REQUEST))
        await hanging.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await client.get(REQUEST) == b"[]"
    assert server.connections == 2
    assert server.open_now == 0


@BOTH_LOOPS
@pytest.mark.parametrize("per_connection", [1, 2])
async def test_a_connection_that_the_server_has_closed_costs_a_counted_retry(
    per_connection: int,
) -> None:
    """aiohttp would send the GET again by itself: every request must be a call of ours."""

    def closes(seen: Seen) -> bytes:
        if seen.on_connection > per_connection:
            raise Drop
        return reply()

    server = Scripted(closes)
    async with asked(server) as client:
        for _ in range(20):
            assert await client.get(REQUEST) == b"[]"
    assert len(server.seen) == client.usage.calls == 20 + client.usage.retries
    assert client.usage.retries == 20 // per_connection - 1


async def test_idle_connections_that_the_server_closes_are_not_noticed_by_the_caller() -> None:
    """Closed without a word after each answer's idle time."""
    server = Scripted(lambda _: reply(), idle_s=0.02)
    async with asked(server) as client:
        for _ in range(6):
            assert await client.get(REQUEST) == b"[]"
            await asyncio.sleep(0.02)
    assert len(server.seen) <= client.usage.calls
    assert server.connections > 1


async def test_retries_are_bounded_in_an_outage() -> None:
    """At most 20 and one for every ten calls, so that they are not what keeps the server down."""
    server = Scripted(lambda _: reply(b"", 503))
    async with asked(server, waits=Waits(outage_s=0.01, backoff_s=0.001)) as client:
        answers = await asyncio.gather(
            *(client.get(REQUEST) for _ in range(200)), return_exceptions=True
        )
    assert all(isinstance(answer, FetchError) for answer in answers)
    assert len(server.seen) <= 1.1 * 200 + 20
    assert client.usage.retries <= 20 + 20


async def test_a_short_outage_pauses_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty failures in a row pause everything; a probe finds the server back."""
    server = Scripted(lambda seen: reply(b"", 503) if seen.number <= 22 else reply())
    async with asked(server, attempts=1) as client:
        with caplog.at_level(logging.INFO, "collector.fmp"):
            answers = await asyncio.gather(
                *(client.get(REQUEST) for _ in range(60)), return_exceptions=True
            )
    assert answers.count(b"[]") >= 60 - 32
    assert sum("does not answer" in record.message for record in caplog.records) == 1


async def test_a_long_outage_stops_the_calls() -> None:
    """Three pauses without a good answer: the rest is refused without a call."""
    server = Scripted(lambda _: reply(b"", 503))
    async with asked(server, attempts=1, concurrency=4) as client:
        errors = [await caught(client) for _ in range(60)]
    assert len(server.seen) == 20 + 3
    assert isinstance(errors[-1], Refused)
    assert errors[-1].kind is Kind.SERVER


async def caught(client: FmpClient, path: str = EOD) -> FetchError:
    """The error of one call."""
    with pytest.raises(FetchError) as error:
        await client.get(Request(path))
    return error.value


@BOTH_LOOPS
async def test_a_429_pauses_everyone_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also those who already wait; then all of them get their answer."""
    limit = reply(recorded("err_429_limit_reach.json"), 429, Retry_After="1")
    server = Scripted(lambda seen: limit if seen.number <= 3 else reply())
    async with asked(server, concurrency=3) as client:
        with caplog.at_level(logging.INFO, "collector.fmp"):
            answers = await asyncio.gather(*(client.get(REQUEST) for _ in range(12)))
    assert answers == [b"[]"] * 12
    assert [r.message for r in caplog.records] == ["rate limited, pausing all requests 1 s"]
    assert server.seen[3].at - server.seen[2].at >= 0.98
    assert (client.usage.throttled, client.usage.retries, client.usage.calls) == (3, 3, 15)


async def test_a_429_for_ever_stops_the_calls() -> None:
    """The first burst and one probe after each of three pauses; the rest is refused at once."""
    server = Scripted(lambda _: reply(recorded("err_429_limit_reach.json"), 429))
    async with asked(server, concurrency=8) as client:
        answers = await asyncio.gather(
            *(client.get(REQUEST) for _ in range(100)), return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {Refused}
    assert {answer.kind for answer in answers if isinstance(answer, Refused)} == {Kind.RATE_LIMITED}
    assert len(server.seen) == 8 + 3
    assert sum(answer.called for answer in answers if isinstance(answer, Refused)) == 11
    assert client.usage.throttled == 11


async def test_a_call_that_alone_is_throttled_gives_up() -> None:
    """Others get through, so the client goes on; this ticker has had its attempts."""

    def unfair(seen: Seen) -> bytes:
        return reply() if "MSFT" in seen.target else reply("Limit Reach", 429)

    server = Scripted(unfair)
    async with asked(server, attempts=2) as client:
        with pytest.raises(Throttled):
            await client.get(REQUEST)
        assert await client.get(Request(EOD, (("symbol", "MSFT"),))) == b"[]"
    assert len(server.seen) == 3


async def test_a_retry_after_without_sense_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The pause is then our own."""
    server = Scripted(first(lambda: reply("Limit Reach", 429, Retry_After="soon")))
    async with asked(server) as client:
        with caplog.at_level(logging.INFO, "collector.fmp"):
            assert await client.get(REQUEST) == b"[]"
    assert [record.message for record in caplog.records] == [
        "FMP sent a Retry-After that makes no sense: 'soon'",
        "rate limited, pausing all requests 0.02 s",
    ]


async def test_a_pause_holds_back_also_the_call_that_waits_for_the_quota() -> None:
    """It had passed the gate before the pause began."""

    async def throttles_late(seen: Seen) -> bytes:
        if seen.number == 1:
            await asyncio.sleep(0.15)
            return reply("Limit Reach", 429, Retry_After="1")
        return reply()

    server = Scripted(throttles_late)
    async with asked(server, requests_per_minute=600, concurrency=4) as client:
        await asyncio.gather(*(client.get(REQUEST) for _ in range(4)))
    arrivals = [seen.at - server.seen[0].at for seen in server.seen]
    assert len(arrivals) == 5
    assert not [at for at in arrivals if 0.2 < at < 1.14]
    assert sum(at < 0.2 for at in arrivals) == 2


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("err_401_invalid_or_missing_key.json", 401, Kind.AUTH),
        ("err_403_account_suspended.json", 403, Kind.AUTH),
        ("err_429_bandwidth.json", 429, Kind.QUOTA),
        ("err_401_invalid_or_missing_key.json", 200, Kind.AUTH),
    ],
)
async def test_a_refusal_stops_all_calls(body: str, status: int, kind: Kind) -> None:
    """After it no call is sent, but for those in flight."""
    server = Scripted(lambda seen: reply(recorded(body), status) if seen.number > 5 else reply())
    async with asked(server, concurrency=4) as client:
        answers = await asyncio.gather(
            *(client.get(REQUEST) for _ in range(50)), return_exceptions=True
        )
        again = await caught(client, HOURLY)
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(refused) == 45
    assert {error.kind for error in [*refused, again]} == {kind}
    assert len(server.seen) <= 5 + 4
    assert client.usage.refused == len(server.seen) - 5


async def test_an_endpoint_outside_the_plan_stops_the_calls_of_that_endpoint() -> None:
    """The other endpoint is still asked."""

    def hourly_refused(seen: Seen) -> bytes:
        refused = recorded("err_402_restricted_endpoint.txt")
        return reply(refused, 402) if HOURLY in seen.target else reply()

    server = Scripted(hourly_refused)
    async with asked(server) as client:
        assert [(await caught(client, HOURLY)).kind for _ in range(3)] == [Kind.PLAN] * 3
        assert await client.get(REQUEST) == b"[]"
    assert len(server.seen) == 2


async def test_one_ticker_outside_the_plan_fails_alone() -> None:
    """And is not asked again."""
    server = Scripted(first(lambda: reply(recorded("err_402_symbol.txt"), 402)))
    async with asked(server) as client:
        error = await caught(client)
        assert await client.get(REQUEST) == b"[]"
    assert isinstance(error, Failed)
    assert error.kind is Kind.PLAN
    assert client.usage.refused == 1


async def test_the_bandwidth_is_not_passed() -> None:
    """What a call will bring is guessed by the largest answer so far."""
    server = Scripted(lambda _: reply(b"[" + b" " * 998 + b"]"))
    async with asked(server, bytes_left=4_500) as client:
        bodies = [await client.get(REQUEST) for _ in range(4)]
        error = await caught(client)
    assert sum(map(len, bodies)) == client.usage.bytes == 4_000
    assert isinstance(error, Refused)
    assert (error.kind, str(error)) == (Kind.QUOTA, "fmp.bandwidth_gb is used up")


async def test_no_bandwidth_is_no_call() -> None:
    """It was used up before this process began."""
    server = Scripted(lambda _: reply())
    async with asked(server, bytes_left=0) as client:
        assert (await caught(client)).kind is Kind.QUOTA
    assert not server.seen


async def test_what_cannot_be_read_is_asked_again() -> None:
    """Only a decoder sees that a body with two good ends is broken."""
    server = Scripted(lambda seen: reply(f"[{seen.number}]"))

    async def picky(body: bytes) -> int:
        if body == b"[1]":
            raise Transient(Kind.BAD_BODY, "broken")
        return int(body[1:-1])

    async with asked(server) as client:
        assert await client.ask(REQUEST, picky) == 2


async def test_a_client_that_was_not_opened_says_so() -> None:
    """A mistake of ours is no fault of the network's."""
    with pytest.raises(RuntimeError, match="not open"):
        await FmpClient("http://127.0.0.1:1", KEY, requests_per_minute=None).get(REQUEST)


@pytest.mark.parametrize("at", [0.0, 59.9, 1_700_000_000.5])
def test_the_pause_of_its_own_ends_after_the_next_full_minute(at: float) -> None:
    """FMP's window is unknown; a little jitter keeps clients apart."""
    assert 0.5 <= (at + to_next_minute(at)) % 60 <= 2
