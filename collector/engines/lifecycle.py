"""One server process, shared by every command of one home, stopped by the last of them.

Two kernel locks in the engine's directory, which a killed process cannot keep:

``start.lock``    exclusive while a server is started or stopped
``holders.lock``  shared by each command that uses the server; who gets it alone may stop it

The server is known by its socket: the directory is private, and the kernel tells the process id of
whoever listens there (``SO_PEERCRED``), also while it is frozen. A number in a pid file is trusted
for nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from collector.engines.locks import STEP_S, locked, opened, try_lock, unhurried
from collector.engines.place import EmbeddedUnavailable
from collector.engines.processes import Account, is_running, listener_pid, send, spawn_as

log = logging.getLogger(__name__)

LOCK_S = 120.0  # another command may be making a cluster
READY_S = 30.0  # a crash recovery may take this long
LEAVE_LOCK_S = 1.5
STOP_STEPS_S = (4.0, 1.0, 1.0)  # asked to stop; told to; killed
ATTEMPTS = 4
MAX_LOG_BYTES = 1_000_000


@dataclass(frozen=True)
class Engine:
    """What the life cycle must know of a server.

    ``prepare`` is blocking, bounded, and runs before each start under the start lock. ``answers``
    tells whether the server serves commands, within a second or so. ``ask`` begins a clean
    shutdown of a process id, ``force`` is the signal of a quick one.
    """

    title: str
    place: Path
    socket: Path
    account: Account | None
    command: tuple[str, ...]
    prepare: Callable[[], None]
    answers: Callable[[], Awaitable[bool]]
    ask: Callable[[int], None]
    force: signal.Signals


@asynccontextmanager
async def held(engine: Engine) -> AsyncIterator[None]:
    """Use the engine: started if it does not run, stopped afterwards if nobody else uses it.

    Raises ``EmbeddedUnavailable`` if it does not start. Leaving takes 8 s at most, also when it is
    cancelled again meanwhile.
    """
    try:
        holder = await _enter(engine)
    except TimeoutError as error:
        raise EmbeddedUnavailable(f"embedded {engine.title}: {error}") from None
    try:
        yield
    finally:
        os.close(holder)
        await unhurried(_leave(engine))


async def _enter(engine: Engine) -> int:
    began = time.monotonic()
    async with locked(engine.place / "start.lock", LOCK_S):
        try:
            started = await _ensure_running(engine)
        except BaseException:
            await unhurried(_stop_if_unused(engine))
            raise
        holder = opened(engine.place / "holders.lock")
        # This never waits: the lock is held alone under the start lock only.
        fcntl.flock(holder, fcntl.LOCK_SH)
    if started:
        seconds = time.monotonic() - began
        log.info("started embedded %s in %.1f s (%s)", engine.title, seconds, engine.place)
    else:
        log.info("using the embedded %s that another command started", engine.title)
    return holder


async def _leave(engine: Engine) -> None:
    # Who has the start lock for longer starts the server, and will stop it.
    with suppress(TimeoutError):
        async with locked(engine.place / "start.lock", LEAVE_LOCK_S):
            await _stop_if_unused(engine)


async def _stop_if_unused(engine: Engine) -> None:
    alone = opened(engine.place / "holders.lock")
    try:
        if try_lock(alone):
            await _stop(engine)
    finally:
        os.close(alone)


async def _ensure_running(engine: Engine) -> bool:
    for _ in range(ATTEMPTS):
        found = listener_pid(engine.socket) is not None
        process = None if found else await _start(engine)
        try:
            if await _comes_up(engine, process):
                return not found
        except BaseException:
            await unhurried(_end(engine, process or 0))  # it may not listen yet
            raise
        # A killed server's helpers may still be ending, and hold its memory.
        await asyncio.sleep(STEP_S * 10)
    raise EmbeddedUnavailable(f"embedded {engine.title} does not start: {_last_words(engine)}")


async def _start(engine: Engine) -> int:
    await unhurried(asyncio.to_thread(engine.prepare))
    log_file = _log_file(engine)
    command = (engine.command, engine.account, engine.place, log_file)
    return await unhurried(asyncio.to_thread(spawn_as, *command))


def _log_file(engine: Engine) -> Path:
    path = engine.place / "server.log"
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name("server.log.1"))
    return path


async def _comes_up(engine: Engine, process: int | None) -> bool:
    """Wait until the server answers; false if it ended instead."""
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        if await engine.answers():
            return True
        if _ended(engine, process):
            return False
        await asyncio.sleep(STEP_S)
    raise EmbeddedUnavailable(
        f"embedded {engine.title} does not answer within {READY_S:g} s: {_last_words(engine)}"
    )


def _ended(engine: Engine, process: int | None) -> bool:
    if process is None:
        return listener_pid(engine.socket) is None
    return not is_running(process)


def _last_words(engine: Engine) -> str:
    with suppress(OSError):
        lines = (engine.place / "server.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:]) + f" (see {engine.place / 'server.log'})"
    return "it wrote nothing"


async def _stop(engine: Engine) -> None:
    await _end(engine, listener_pid(engine.socket) or 0)


async def _end(engine: Engine, pid: int) -> None:
    if pid == 0:  # there is none, or it is not ours to see
        return
    steps = (engine.ask, _signaller(engine.force), _signaller(signal.SIGKILL))
    for act, patience_s in zip(steps, STOP_STEPS_S, strict=True):
        await asyncio.to_thread(act, pid)
        if await _gone(pid, patience_s):
            return
    log.error("embedded %s (process %d) does not stop", engine.title, pid)


def _signaller(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: send(pid, number)


async def _gone(pid: int, patience_s: float) -> bool:
    give_up_at = time.monotonic() + patience_s
    while is_running(pid):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(STEP_S)
    return True
