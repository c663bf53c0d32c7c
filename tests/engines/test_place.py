"""Where an engine lives and as whom: users, directories, locks."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

import pytest

from collector.engines import place
from collector.engines.locks import locked, unhurried
from collector.engines.place import (
    EmbeddedUnavailable,
    Housing,
    account_for,
    own_directory,
    place_for,
)
from collector.engines.processes import Account, can_run, is_running, listener_pid
from tests.servers import AS_ROOT

root_only = pytest.mark.skipif(not AS_ROOT, reason="only root chooses a user")
user_only = pytest.mark.skipif(AS_ROOT, reason="root's engines have a user of their own")


@user_only
def test_a_normal_users_engine_is_his_own(tmp_path: Path) -> None:
    assert account_for(Housing()) is None
    assert place_for(tmp_path, "postgres", Housing(), None) == tmp_path / "postgres"


@root_only
def test_an_existing_user_is_used() -> None:
    account = account_for(Housing("nobody"))
    assert account == Account(
        "nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid
    )


@root_only
def test_a_missing_user_is_made_as_a_system_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "useradd"
    tool.write_text(f"#!/bin/sh\necho $* >{tmp_path}/called\n")
    tool.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(tool))
    account = account_for(Housing("no-such-user"))
    assert "--system" in (tmp_path / "called").read_text()
    assert account is not None
    assert account.name == "nobody"


@root_only
def test_where_no_user_can_be_made_nobody_stands_in_and_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    account = account_for(Housing("no-such-user"))
    assert account is not None
    assert account.uid != 0
    assert "run as 'nobody'" in caplog.text


@root_only
def test_without_any_user_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_account", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(EmbeddedUnavailable, match=r"create the user 'ghost'.*DATABASE_URL"):
        account_for(Housing("ghost"))


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedUnavailable, match="COLLECTOR_DATA_DIR"):
        place_for(tmp_path / "file", "postgres", Housing(), None)


def test_a_directory_that_somebody_else_prepared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("target", "link"):
        with pytest.raises(EmbeddedUnavailable, match="mode 0700"):
            own_directory(tmp_path / name, None)


def test_what_cannot_run_cannot_run(tmp_path: Path) -> None:
    assert can_run(["/bin/sh", "-c", "exit 0"], None)
    assert not can_run(["/bin/sh", "-c", "exit 3"], None)
    assert not can_run([str(tmp_path / "missing")], None)


def test_nobody_listens_on_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert listener_pid(tmp_path / "s") is None
    assert listener_pid(tmp_path / ("long" * 40)) == 0


def test_a_process_that_only_waits_to_be_reaped_does_not_run() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(pid)
    os.waitpid(pid, 0)
    assert not is_running(pid)
    assert is_running(os.getpid())


async def test_a_lock_is_waited_for_within_its_deadline(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    async with locked(path, 1):
        with pytest.raises(TimeoutError, match="is held for more than"):
            async with locked(path, 0.1):
                pass
    async with locked(path, 0.1):
        assert not os.get_inheritable(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


async def test_unhurried_work_ends_before_the_cancellation_passes() -> None:
    gate, ended = asyncio.Event(), []

    async def work() -> int:
        await gate.wait()
        ended.append(1)
        return 5

    task = asyncio.create_task(unhurried(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
    assert await unhurried(work()) == 5
