"""Processes: started as another user, known by their socket, reaped by us."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROBE_S = 10.0
# Bare: no secret, and no setting of the user's own servers.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_children: dict[int, subprocess.Popen[bytes]] = {}  # by process id: kept to be reaped by us


@dataclass(frozen=True)
class Account:
    """The unprivileged user that root's engines run as."""

    name: str
    uid: int
    gid: int


def run_as(
    command: list[str], account: Account | None, cwd: Path, deadline_s: float = PROBE_S
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as ``account`` (``None``: as we are) and return what it wrote.

    Raises ``OSError`` if it cannot be run, ``subprocess.TimeoutExpired`` after killing it.
    """
    return subprocess.run(  # noqa: S603 - engines build their commands themselves
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=deadline_s,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def can_run(command: list[str], account: Account | None) -> bool:
    """Tell whether the engine's user can run ``command`` with success, by trying it."""
    try:
        return run_as(command, account, Path("/")).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def spawn_as(command: tuple[str, ...], account: Account | None, cwd: Path, log: Path) -> int:
    """Start a server that writes to ``log``, and return its process id.

    It has a session of its own: Ctrl-C in the terminal must not stop it before us.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - engines build their commands themselves
            command,
            cwd=cwd,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    _children[process.pid] = process
    return process.pid


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone has had its way."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that only waits to be reaped does not. Reaps our own."""
    child = _children.get(pid)
    if child is not None:
        if child.poll() is None:
            return True
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    # An orphan in a container whose first process reaps nobody stays a zombie for ever.
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    return False


def listener_pid(path: Path) -> int | None:
    """Return the process id of whoever listens on a Unix socket; ``None`` if nobody does.

    0 stands for a process that this process cannot see (another container's).
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError:
            return 0
        return _peer(probe)


def _peer(connection: socket.socket) -> int:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return connection.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID of macOS
    answer = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", answer)[0]
    return pid
