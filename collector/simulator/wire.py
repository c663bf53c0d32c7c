"""From HTTP to a `Call` and back: FMP's headers, chunks and gzip, as recorded (bodies/INDEX.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import web

from collector.simulator.call import Call
from collector.simulator.pages import Page

HEADERS = {
    "Server": "nginx/1.18.0 (Ubuntu)",
    "Connection": "keep-alive",
    "X-Powered-By": "Express",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, content-type, auth-token, Authorization, stripe-signature, APPS,"
        " publicauthkey, privateauthkey"
    ),
    "Access-Control-Max-Age": "3600",
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Accept-Encoding",
    "X-Frame-Options": "SAMEORIGIN",
}


@dataclass(frozen=True)
class Reply:
    """An answer ready to be sent: ``payload`` goes over the wire, ``announced`` is its full length.

    A good answer is chunked and, on request, in gzip; an error is neither.
    """

    status: int
    payload: bytes
    headers: Mapping[str, str]
    announced: int

    def cut(self, length: int | None, announce_all: bool) -> Reply:
        """The first ``length`` bytes (``None``: all), with the full length announced or not."""
        kept = self.payload[:length]
        return replace(self, payload=kept, announced=self.announced if announce_all else len(kept))


def call_of(request: web.BaseRequest) -> Call:
    """The call of ``request``; the key is the header or the parameter ``apikey``."""
    query = dict(request.query)
    in_query = query.pop("apikey", "")
    return Call(request.path.strip("/"), query, request.headers.get("apikey", "") or in_query)


def wants_gzip(request: web.BaseRequest) -> bool:
    """Whether the client takes gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "").lower()


def reply_of(status: int, page: Page, content_type: str, gzip: bool) -> Reply:
    """The reply that carries ``page``."""
    headers = {**HEADERS, "Content-Type": content_type, "Etag": page.etag}
    payload = page.body
    if gzip and status == 200:
        headers["Content-Encoding"] = "gzip"
        payload = page.zipped
    return Reply(status, payload, headers, len(payload))


async def send(request: web.BaseRequest, reply: Reply, cut: bool = False) -> web.StreamResponse:
    """Send ``reply``; with ``cut`` drop the connection: after a short payload, else at once."""
    if cut:
        return await _drop(request, reply)
    response = web.Response(status=reply.status, body=reply.payload, headers=reply.headers)
    if reply.status == 200:
        response.enable_chunked_encoding()
    return response


async def _drop(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if len(reply.payload) < reply.announced:
        response.content_length = reply.announced
        await response.prepare(request)
        await response.write(reply.payload)
    if request.transport is not None:
        request.transport.close()
    return response
