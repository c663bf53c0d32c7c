"""The kinds of values that a setting may have, checked without a word of the value in any message.

A check returns the value as the program uses it, or raises `ValueError` with a reason. A reason
never repeats what was given: a password may stand anywhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, SecretStr

from collector.market.ticker import parse_tickers

PRINTABLE = re.compile(r"[!-~]+")  # ASCII without spaces and control characters
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?")
PORT_MAX = 65535
TIMEFRAMES = ("1h", "1d", "1wk")


def is_host(text: str) -> bool:
    """Tell whether ``text`` is a host name or an IP address (IPv6 without brackets)."""
    if ":" in text or re.fullmatch(r"[\d.]+", text):
        return _address(text) is not None
    return HOST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine by its name or address; nothing is resolved."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def split_url(text: str, schemes: tuple[str, ...]) -> SplitResult:
    """Split a URL of printable ASCII, or raise `ValueError` without any part of it."""
    if not PRINTABLE.fullmatch(text):
        raise ValueError("it is empty or holds a space, a control character or a letter not ASCII")
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError("it is not a URL") from None
    if url.scheme not in schemes:
        raise ValueError(f"it must start with {' or '.join(f'{s}://' for s in schemes)}")
    return url


def _check_ports(url: SplitResult) -> None:
    """Check each ``host:port`` of a URL: PostgreSQL takes several, comma-separated."""
    for place in url.netloc.rpartition("@")[2].split(","):
        port = re.fullmatch(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{1,5}))?", place, re.ASCII)
        if port is None or int(port[1] or 1) not in range(1, PORT_MAX + 1):
            raise ValueError("its host and port are not valid")


def check_base_url(text: str) -> str:
    """Check the address of the API and take off a closing slash."""
    url = split_url(text, ("https", "http"))
    host = url.hostname or ""
    if not is_host(host):
        raise ValueError("its host is missing or not valid")
    _check_ports(url)
    if "@" in url.netloc or "?" in text or "#" in text:
        raise ValueError("it must hold no user, password, query or fragment")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("http:// is for a loopback host only")
    return text.rstrip("/")


def check_dsn(secret: SecretStr) -> SecretStr:
    """Check the form of a PostgreSQL URL."""
    _check_ports(split_url(secret.get_secret_value(), ("postgresql", "postgres")))
    return secret


def check_redis_url(secret: SecretStr) -> SecretStr:
    """Check the form of a Redis URL."""
    text = secret.get_secret_value()
    url = split_url(text, ("redis", "rediss", "unix"))
    if url.scheme == "unix":
        if not url.path:
            raise ValueError("it names no socket")
        return secret
    if not url.hostname:
        raise ValueError("it names no host")
    _check_ports(url)
    if not re.fullmatch(r"/?\d{0,4}", url.path, re.ASCII):
        raise ValueError("its path must be the number of a database")
    return secret


def check_key(secret: SecretStr) -> SecretStr:
    """Check that the API key can stand in an HTTP header."""
    if not re.fullmatch(r"[!-~]{1,256}", secret.get_secret_value()):
        raise ValueError("it must be 1 to 256 printable ASCII characters without spaces")
    return secret


def check_listen(text: str) -> str:
    """Check ``host:port``; port 0 takes any free one."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = bare != host
    if not is_host(bare) or bracketed != (":" in bare):
        raise ValueError("its host is missing or not valid")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > PORT_MAX:
        raise ValueError("its port is not valid")
    return text


def check_schema(text: str) -> str:
    """Check a PostgreSQL schema that needs no quotes and is not the server's own."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", text):
        raise ValueError("only lower-case letters, digits and _ are allowed")
    if text.startswith("pg_") or text == "information_schema":
        raise ValueError("this schema is PostgreSQL's own")
    return text


def check_zone(text: str) -> str:
    """Check that the time zone is known here. `ZoneInfo` raises several kinds for a bad name."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("this time zone is not known") from None
    return text


def check_times(times: tuple[str, ...]) -> tuple[str, ...]:
    """Check wall-clock times ``HH:MM``: one at least, none twice."""
    if not times:
        raise ValueError("the list is empty")
    if not all(re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", each, re.ASCII) for each in times):
        raise ValueError("a time is not HH:MM")
    if len(set(times)) != len(times):
        raise ValueError("a time is given twice")
    return times


def check_tickers(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Upper-case the tickers and leave out duplicates."""
    for position, text in enumerate(texts, start=1):
        try:
            parse_tickers([text])
        except ValueError:
            raise ValueError(f"number {position} of the list is not a ticker") from None
    return tuple(parse_tickers(texts))


def check_ttl(table: Mapping[str, int]) -> Mapping[str, int]:
    """Check that every timeframe has its seconds, from 1 second to 30 days."""
    if set(table) != set(TIMEFRAMES):
        raise ValueError("a timeframe is missing or not known")
    if not all(1 <= seconds <= 30 * 86400 for seconds in table.values()):
        raise ValueError("a number is out of range")
    return {timeframe: table[timeframe] for timeframe in TIMEFRAMES}


def read_instant(value: object) -> object:
    """Read ISO 8601 text; an instant of TOML comes as it is."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("it is not ISO 8601") from None


def check_instant(instant: datetime) -> datetime:
    """Turn an aware instant of the years 1970 to 2099 into UTC."""
    if instant.tzinfo is None:
        raise ValueError("it has no offset")
    if instant.year not in range(1970, 2100):
        raise ValueError("it is out of range")
    return instant.astimezone(UTC)


def _none(value: object) -> object:
    return None if value == "none" else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


OrNone = BeforeValidator(_none)
Lower = BeforeValidator(_lower)
Key = Annotated[SecretStr, AfterValidator(check_key)]
Dsn = Annotated[SecretStr, AfterValidator(check_dsn)]
RedisUrl = Annotated[SecretStr, AfterValidator(check_redis_url)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
Listen = Annotated[str, AfterValidator(check_listen)]
SchemaName = Annotated[str, AfterValidator(check_schema)]
Zone = Annotated[str, AfterValidator(check_zone)]
Times = Annotated[tuple[str, ...], BeforeValidator(_tuple), AfterValidator(check_times)]
Tickers = Annotated[tuple[str, ...], BeforeValidator(_tuple), AfterValidator(check_tickers)]
Ttl = Annotated[Mapping[str, int], AfterValidator(check_ttl)]
Instant = Annotated[datetime, BeforeValidator(read_instant), AfterValidator(check_instant)]
