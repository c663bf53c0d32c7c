"""Where an engine lives and as whom it runs.

A normal user's engine is his own process in his own directory. PostgreSQL refuses to run as root,
so root's engines run as a system user, who must be able to reach the files: neither ``/root`` nor
a virtual environment below it will do. Then the engine lives under ``/var/lib/collector`` and the
binaries are copied there. No mode of a directory that is not ours is ever changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from collector.engines.processes import Account, can_run
from collector.errors import UsageError

log = logging.getLogger(__name__)

MAX_SOCKET_BYTES = 100  # a Unix socket's path may have 107 bytes; servers append to it


class EmbeddedUnavailable(UsageError):
    """An embedded engine cannot be had here; the message says what to do instead."""


@dataclass(frozen=True)
class Housing:
    """What root's engines use: their user's name, and their place if the home is unreachable."""

    user: str = "collector"
    fallback: Path = Path("/var/lib/collector")


def account_for(housing: Housing) -> Account | None:
    """Return whom the engines run as; ``None`` for a normal user, whose engines are his own.

    The user is made if he is missing. Where that is impossible, ``nobody`` stands in.
    """
    if os.geteuid() != 0:
        return None
    return _account(housing.user) or _create(housing.user) or _nobody(housing.user)


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _create(name: str) -> Account | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        command = [useradd, "--system", "--user-group", "--no-create-home"]
        command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name]
        can_run(command, None)
    return _account(name)


def _nobody(wanted: str) -> Account:
    account = _account("nobody")
    if account is None or account.uid == 0:
        raise EmbeddedUnavailable(
            f"PostgreSQL does not run as root, and neither user {wanted!r} nor 'nobody' exists: "
            f"create the user {wanted!r}, or run as a normal user, or set DATABASE_URL"
        )
    log.warning("the user %r cannot be created: the embedded engines run as 'nobody'", wanted)
    return account


def place_for(home: Path, name: str, housing: Housing, account: Account | None) -> Path:
    """Make and return the directory of engine ``name``: in ``home`` if that is reachable."""
    place = _made(home.resolve() / name, account)
    if account is None or can_run(["/bin/sh", "-c", 'cd "$1"', "sh", str(place)], account):
        return place
    place = _made(housing.fallback / digest(home) / name, account)
    log.info("the user %s cannot reach %s: %s lives in %s", account.name, home, name, place)
    return place


def _made(place: Path, account: Account | None) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700 if account is None else 0o711)
    except OSError as error:
        raise EmbeddedUnavailable(
            f"the embedded engine cannot use {place}: {error.strerror}; "
            "set COLLECTOR_DATA_DIR to a directory of yours, or set DATABASE_URL"
        ) from None
    return place


def digest(path: Path) -> str:
    """Return twelve characters that stand for a path."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def own_directory(path: Path, account: Account | None) -> Path:
    """Make and return a directory that is the engine's user's, and nobody else's."""
    owner = os.geteuid() if account is None else account.uid
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None and path.lstat().st_uid == os.geteuid():
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
        raise EmbeddedUnavailable(f"{path} must be a directory of mode 0700 of user {owner}")
    return path


def socket_directory(place: Path, account: Account | None) -> Path:
    """Return a private directory for sockets: below ``place`` unless that is too deep."""
    path = place / "run"
    if len(os.fsencode(path)) + len("/.s.PGSQL.5432") > MAX_SOCKET_BYTES:
        owner = os.geteuid() if account is None else account.uid
        path = Path(tempfile.gettempdir()) / f"collector-{owner}-{digest(place)}"
    return own_directory(path, account)


def package_directory(name: str) -> Path | None:
    """Return where a package is installed without importing it; ``None`` if it is not."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def reachable_copy(trees: list[Path], target: Path) -> Path:
    """Copy directories or files that stand side by side into ``target``, readable for all, once."""
    key = hashlib.sha256(repr([(str(t), t.stat().st_mtime_ns) for t in trees]).encode())
    done = target / key.hexdigest()[:12]
    if done.exists():
        return done
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=target))
    for tree in trees:
        _copy(tree, half / tree.name)
    for path in (half, *half.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        half.rename(done)
    except OSError:  # another command was faster
        shutil.rmtree(half, ignore_errors=True)
    return done


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        unneeded = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=unneeded)
    else:
        shutil.copy2(source, target)
