"""What the errors of aiohttp, of TLS and of the loops are called here."""

from __future__ import annotations

import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from collector.errors import Failed, FetchError, Kind, Transient
from collector.fmp.endpoints import Request
from collector.fmp.transport import Transport, translate

KEY = ConnectionKey(
    "api.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)
UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed for api.example")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (aiohttp.ClientConnectorCertificateError(KEY, UNTRUSTED), Kind.TLS, "TLS: "),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad")), Kind.TLS, "TLS: "),
        (ssl.SSLError(1, "record"), Kind.TLS, "TLS: handshake failed"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "eof")), Kind.NETWORK, "TLS"),
        (ssl.SSLEOFError(8, "eof"), Kind.NETWORK, "connection was lost"),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "x")), Kind.NETWORK, "no connection"),
        (aiohttp.ConnectionTimeoutError("to https://api.example"), Kind.TIMEOUT, "no connection"),
        (aiohttp.SocketTimeoutError("x"), Kind.TIMEOUT, "no whole answer"),
        (TimeoutError(), Kind.TIMEOUT, "no whole answer"),
        (ConnectionResetError(104, "x"), Kind.NETWORK, "connection was lost"),
        (aiohttp.ClientConnectionResetError("x"), Kind.NETWORK, "connection was lost"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "api.example"), Kind.BAD_BODY, "not HTTP"),
        (ValueError("api.example"), Kind.BAD_BODY, "not HTTP (ValueError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_has_its_kind_and_a_message_without_the_host(
    error: Exception, kind: Kind, words: str
) -> None:
    """What cannot be helped by trying again is `tls`; a connection cut off in TLS can."""
    found = translate(error)
    assert found.kind is kind
    assert isinstance(found, Failed if kind is Kind.TLS else Transient)
    assert "example" not in str(found)
    assert words in str(found) or kind is Kind.NETWORK


async def exchange(error: Exception) -> object:
    """What a transport makes of an error of the loop's."""
    transport = Transport(
        "http://127.0.0.1:9", "k", connections=1, timeout_s=1, max_body_bytes=9, sent=Mock()
    )
    session = transport._session
    transport._session = Mock(get=Mock(side_effect=error))
    try:
        return await transport.exchange(Request("x"))
    finally:
        await session.close()


async def test_uvloops_closed_handler_is_a_lost_connection() -> None:
    """It is a race that no server can be made to win."""
    text = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    with pytest.raises(FetchError) as caught:
        await exchange(RuntimeError(text))
    assert caught.value.kind is Kind.NETWORK
    assert caught.value.__context__ is None


async def test_a_mistake_of_ours_is_not_taken_for_a_lost_connection() -> None:
    """It must be seen."""
    with pytest.raises(RuntimeError, match="Session is closed"):
        await exchange(RuntimeError("Session is closed"))
