"""Files that hold one secret each: named by a variable, or put in place by systemd or Docker."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from collector.settings import names
from collector.settings.environment import is_set
from collector.settings.layer import Given, Layer

RUN_SECRETS = Path("/run/secrets")
SECRET_BYTES = 64 * 1024
IN_DIRECTORY = {
    "fmp.api_key": ("fmp_api_key",),
    "postgres.dsn": ("database_url", "pg_dsn"),
    "redis.url": ("redis_url",),
}
"""The names that a secret may have in ``$CREDENTIALS_DIRECTORY`` and in ``/run/secrets``."""


class Unreadable(ValueError):
    """A file that cannot be used; the reason names neither the file nor its content."""


def read_text(path: Path, limit: int) -> tuple[str, int]:
    """Return the text and the mode of a regular file of at most ``limit`` bytes.

    The file is opened without waiting: a pipe without a writer would keep the program for ever.
    """
    try:
        raw, mode = _read_bytes(path, limit + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise Unreadable(_own(error)) from None
    if len(raw) > limit:
        raise Unreadable(f"is larger than {limit // 1024} KiB")
    try:
        return raw.decode("utf-8-sig"), mode
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None


def _read_bytes(path: Path, limit: int) -> tuple[bytes, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        _check_mode(mode)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit), mode
    finally:
        os.close(descriptor)


def _check_mode(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise Unreadable("is a directory")
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):  # /dev/null says "nothing" and is fine
        raise Unreadable("is not a regular file")


def _own(error: ValueError) -> str:
    """Return our own reason; a path with a zero byte raises a plain `ValueError`."""
    return str(error) if isinstance(error, Unreadable) else "is not a path"


def is_open_to_others(mode: int) -> bool:
    """Tell whether the group or everybody may read the file."""
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH)) and stat.S_ISREG(mode)


def read_secret(path: Path) -> tuple[str, int]:
    """Return the secret in the file without surrounding white space, and the file's mode."""
    text, mode = read_text(path, SECRET_BYTES)
    if not text.strip():
        raise Unreadable("is empty")
    return text.strip(), mode


def secret_files(environ: Mapping[str, str], run_secrets: Path = RUN_SECRETS) -> Layer:
    """Read the secrets that the environment itself does not hold."""
    layer = Layer()
    for key in names.SECRET_KEYS:
        named = [name for name in names.files_of(key) if is_set(environ, name)]
        values = [name for name in names.values_of(key) if is_set(environ, name)]
        if named:
            _take_named(layer, key, named, values, environ)
        elif not values:
            _take_placed(layer, key, environ, run_secrets)
    return layer


def _take_named(
    layer: Layer, key: str, named: list[str], values: list[str], environ: Mapping[str, str]
) -> None:
    """Take the file that a variable names. Its path stays untold: it may be the secret itself."""
    paths = {environ[name].strip() for name in named}
    if values or len(paths) > 1:
        listed = " and ".join([*values, *named])
        layer.problems.append(f"environment {listed}: set together, keep one")
        return
    origin = f"environment {named[0]}"
    try:
        secret, mode = read_secret(Path(*paths))
    except Unreadable as error:
        layer.problems.append(f"{origin}: the file that it names {error}")
        return
    layer.given[key] = Given(secret, f"{origin}: the file that it names")
    if is_open_to_others(mode):
        layer.notes.append(f"{origin}: others may read the file that it names; chmod 600 it")


def _take_placed(layer: Layer, key: str, environ: Mapping[str, str], run_secrets: Path) -> None:
    """Take the file that systemd, else Docker, put in place."""
    credentials = environ.get("CREDENTIALS_DIRECTORY", "").strip()
    for directory in [Path(credentials)] * bool(credentials) + [run_secrets]:
        found = [directory / name for name in IN_DIRECTORY[key] if _exists(directory / name)]
        if not found:
            continue
        if len(found) > 1:
            listed = " and ".join(map(str, found))
            layer.problems.append(f"{listed}: both hold {key}, keep one")
        try:
            layer.given[key] = Given(read_secret(found[0])[0], str(found[0]))
        except Unreadable as error:
            layer.problems.append(f"{found[0]}: {error}")
        return


def _exists(path: Path) -> bool:
    """Tell whether the file is there; a directory that we may not enter holds nothing for us."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
