"""The embedded Redis: shared, kept, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.asyncio

from collector.engines import redis as engine
from collector.engines.place import EmbeddedUnavailable, Housing
from collector.engines.processes import listener_pid
from collector.engines.redis import embedded_redis, find_binary
from tests.engines.conftest import Command
from tests.servers import AS_ROOT, is_running

Start = Callable[[str], Command]


def executable(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def server(home: Path) -> int:
    pid = listener_pid(home / "redis" / "run" / "redis.sock")
    assert pid
    return pid


async def call(url: str | None, *words: str | int) -> object:
    assert url is not None
    async with redis.asyncio.Redis.from_url(url, socket_timeout=5) as client:
        answer: object = await client.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_keys_and_their_ends_last_and_the_server_does_not(
    home: Path, housing: Housing
) -> None:
    async with embedded_redis(home, housing=housing) as url:
        await call(url, "SET", "kept", "7", "EX", 500)
        pid = server(home)
    assert not is_running(pid)
    async with embedded_redis(home, housing=housing) as url:
        assert await call(url, "GET", "kept") == b"7"
        assert 400 < int(str(await call(url, "TTL", "kept"))) <= 500


async def test_after_a_crash_no_older_value_comes_back(home: Path, housing: Housing) -> None:
    async with embedded_redis(home, housing=housing) as url:
        await call(url, "SET", "price", "old", "EX", 500)
    async with embedded_redis(home, housing=housing) as url:
        await call(url, "SET", "price", "new", "EX", 500)
        os.kill(server(home), signal.SIGKILL)
    async with embedded_redis(home, housing=housing) as url:
        assert await call(url, "GET", "price") is None


async def test_an_unreadable_dump_costs_the_keys_and_nothing_else(
    home: Path, housing: Housing, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded_redis(home, housing=housing) as url:
        await call(url, "SET", "a", "1")
    dump = home / "redis" / "keys" / "dump.rdb"
    dump.write_bytes(b"REDIS9999 from another planet")
    async with embedded_redis(home, housing=housing) as url:
        assert await call(url, "DBSIZE") == 0
    assert "may be unreadable" in caplog.text


def test_two_commands_share_one_server(home: Path, command: Start) -> None:
    first, second = command("redis"), command("redis")
    assert first.address() == second.address() != ""
    pid = server(home)
    first.end()
    assert is_running(pid)
    second.end()
    assert not is_running(pid)


async def test_a_killed_commands_server_is_taken_over(
    home: Path, housing: Housing, command: Start
) -> None:
    killed = command("redis")
    await call(killed.address(), "SET", "a", "1")
    pid = server(home)
    killed.end(signal.SIGKILL)
    async with embedded_redis(home, housing=housing) as url:
        assert server(home) == pid
        assert await call(url, "GET", "a") == b"1"
    assert not is_running(pid)


async def test_a_frozen_server_is_stopped_in_bounded_time(home: Path, housing: Housing) -> None:
    async with embedded_redis(home, housing=housing):
        pid = server(home)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert not is_running(pid)


async def test_a_dump_that_cannot_be_written_does_not_hinder_the_end(
    home: Path, housing: Housing
) -> None:
    async with embedded_redis(home, housing=housing) as url:
        await call(url, "SET", "a", "1")
        pid = server(home)
        shutil.rmtree(home / "redis" / "keys")
    assert not is_running(pid)


async def test_a_cache_does_not_grow_without_bound(home: Path, housing: Housing) -> None:
    async with embedded_redis(home, housing=housing) as url:
        policy = await call(url, "CONFIG", "GET", "maxmemory-policy")
        limit = await call(url, "CONFIG", "GET", "maxmemory")
    assert "allkeys-lru" in str(policy)
    assert "1073741824" in str(limit)


async def test_where_no_redis_can_be_had_one_line_says_so(
    home: Path,
    housing: Housing,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(engine, "package_directory", lambda _: None)
    async with embedded_redis(home, housing=housing) as url:
        assert url is None
    (line,) = caplog.messages
    assert line.startswith("going on without a cache: no Redis here")


async def test_a_binary_that_does_not_start_is_no_cache_either(
    home: Path, housing: Housing, caplog: pytest.LogCaptureFixture
) -> None:
    broken = home / "redis-server"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho broken; exit 1\n")
    broken.chmod(0o755)
    async with embedded_redis(home, binary=broken, housing=housing) as url:
        assert url is None
    assert "broken" in caplog.messages[-1]


async def test_an_error_of_the_user_passes_through(home: Path, housing: Housing) -> None:
    with pytest.raises(EmbeddedUnavailable, match="of the user"):
        async with embedded_redis(home, housing=housing):
            raise EmbeddedUnavailable("of the user")


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_the_systems_server_comes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = home / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home))
    assert find_binary() == program


@pytest.mark.skipif(not AS_ROOT, reason="a normal user can run his own binaries")
async def test_as_root_it_runs_as_another_user_from_a_binary_he_can_reach(
    home: Path, housing: Housing
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    binary = Path(shutil.copy2(find_binary(), closed / "redis-server"))
    async with embedded_redis(home, binary=binary, housing=housing):
        pid = server(home)
        assert executable(pid).is_relative_to(home / "redis")
        assert owner(pid) != 0
