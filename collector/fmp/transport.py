"""One HTTP exchange with FMP, and no more: aiohttp's errors and its URLs end here."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
from yarl import URL

from collector.errors import Failed, FetchError, Kind, Transient
from collector.fmp.body import read
from collector.fmp.classify import Reply, printable
from collector.fmp.endpoints import Request

KEEPALIVE_S = 15.0  # below nginx' 75 s: what we reuse the server has not closed
CONNECT_S = 10.0
HEADER_BYTES = 8_190


class Transport:
    """One aiohttp session. ``sent`` is called for each request whose headers were written."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        connections: int,
        timeout_s: float,
        max_body_bytes: int,
        sent: Callable[[], None],
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._max_body_bytes = max_body_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE_S),
            headers={"apikey": key, "Accept": "application/json", "Accept-Encoding": "gzip"},
            timeout=_deadlines(timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            middlewares=(_once,),
            trace_configs=[_tracing(sent)],
        )

    async def close(self) -> None:
        """Close every connection, also those in use."""
        await self._session.close()

    async def exchange(self, request: Request) -> Reply:
        """Send ``request`` once and read the whole answer; redirects are not followed.

        Raises `Transient` (``network timeout bad_body``) or `Failed` (``tls too_large``). What is
        raised holds no URL, no key and no other error: it is raised where none is being handled.
        """
        try:
            return await self._exchange(request)
        except FetchError as error:
            failure = error.with_traceback(None)  # aiohttp's frames hold the headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = translate(error)
        except RuntimeError as error:
            if "the handler is closed" not in str(error):  # uvloop's way to say: connection lost
                raise
            failure = Transient(Kind.NETWORK, "the connection was lost")
        raise failure

    async def _exchange(self, request: Request) -> Reply:
        url = URL(f"{self._base_url}/{request.target}", encoded=True)
        async with self._session.get(url, allow_redirects=False) as response:
            headers = response.headers
            chunks = response.content.iter_any()
            encoding = headers.get("Content-Encoding", "")
            failed = True
            try:
                body = await read(chunks, encoding, self._max_body_bytes)
                failed = False
            finally:
                if failed:
                    response.close()  # what is left of the body is not worth reading
            if not body and (encoding or not _is_framed(response)):
                raise Transient(Kind.BAD_BODY, "the body is missing")
            retry_after, location = headers.get("Retry-After", ""), headers.get("Location", "")
            return Reply(response.status, body, retry_after, location)


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again by itself on a connection that the server had closed.

    That second attempt would pass by the quota and the retry budget. aiohttp repeats on its own
    errors only (`ClientSession._request`), and a middleware stands within that loop.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never repeated
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        failure = translate(error)
    raise failure


def translate(error: Exception) -> FetchError:
    """The error of ours that an error of aiohttp's or of the system's means."""
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError() if not _is_cut_off(error):
            return Failed(Kind.TLS, f"TLS: {_tls_reason(error)}")
        case TimeoutError():
            return Transient(Kind.TIMEOUT, _timeout_text(error))
        case aiohttp.ClientConnectorDNSError():
            return Transient(Kind.NETWORK, "dns: the name of the API host was not resolved")
        case aiohttp.ClientConnectorError():
            reason = os.strerror(error.os_error.errno or 0)  # its own text names the address
            return Transient(Kind.NETWORK, f"no connection: {reason}")
        case aiohttp.ClientResponseError() | UnicodeDecodeError():
            return Transient(Kind.BAD_BODY, "the answer is not HTTP")
        case aiohttp.ClientPayloadError():
            return Transient(Kind.NETWORK, "the body was cut off")
        case aiohttp.ClientError() | OSError():
            return Transient(Kind.NETWORK, "the connection was lost")
        case _:
            return Transient(Kind.BAD_BODY, f"the answer is not HTTP ({type(error).__name__})")


def _is_cut_off(error: Exception) -> bool:
    """Whether TLS failed because the connection did: then trying again can help."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or not isinstance(
        cause, (ssl.SSLError, ssl.CertificateError)
    )


def _tls_reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return printable(
            str(getattr(error.certificate_error, "verify_message", "")) or "certificate", 120
        )
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return printable(str(getattr(cause, "reason", "") or "handshake failed"), 120)


def _timeout_text(error: TimeoutError) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection within its deadline"
    return "no whole answer within its deadline"


def _is_framed(response: aiohttp.ClientResponse) -> bool:
    """Whether the server says where the body ends; else a lost connection looks like its end."""
    headers = response.headers
    return "Content-Length" in headers or "Transfer-Encoding" in headers


def _deadlines(timeout_s: float) -> aiohttp.ClientTimeout:
    connect_s = min(CONNECT_S, timeout_s)
    return aiohttp.ClientTimeout(
        total=timeout_s, connect=connect_s, sock_connect=connect_s, sock_read=timeout_s
    )


def _tracing(sent: Callable[[], None]) -> aiohttp.TraceConfig:
    async def on_headers_sent(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        sent()

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(on_headers_sent)
    return tracing
