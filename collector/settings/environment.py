"""The environment as a layer: names that mean something, and text turned into values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, get_args, get_origin

from collector.settings import names
from collector.settings.kinds import PORT_MAX, is_host
from collector.settings.layer import Given, Layer, escaped
from collector.settings.model import FIELDS

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True}
_BOOLEANS |= {"false": False, "0": False, "no": False, "off": False}
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


def environment(environ: Mapping[str, str]) -> Layer:
    """Read every setting that the environment holds, and find the names that mean nothing."""
    layer = Layer()
    layer.problems += _unknown(environ)
    for key in FIELDS:
        _take(layer, key, environ)
    _take_redis_parts(layer, environ)
    empty = [name for name in sorted(names.KNOWN & environ.keys()) if not environ[name].strip()]
    layer.notes += [f"{name}: empty, so read as not set" for name in empty]
    return layer


def is_set(environ: Mapping[str, str], name: str) -> bool:
    """Tell whether a variable holds anything: an empty one counts as not set."""
    return bool(environ.get(name, "").strip())


def parse(key: str, text: str) -> object:
    """Turn text into the type of the setting; text that does not fit is left for the judge.

    Whole numbers and numbers are decimal; switches are ``true false 1 0 yes no on off``; tables
    are JSON; lists are JSON or comma-separated.
    """
    text = text.strip()
    types = set(_types(FIELDS[key].annotation))
    if bool in types:
        return _BOOLEANS.get(text.lower(), text)
    if int in types and _WHOLE.fullmatch(text):
        return int(text)
    if float in types and _DECIMAL.fullmatch(text):
        return float(text)
    if tuple in types and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return _json(text) if types & {tuple, Mapping} else text


def _types(annotation: object) -> Iterator[object]:
    """Yield the alternatives of an annotation; of a list or a table, only what holds the items."""
    origin = get_origin(annotation)
    if origin in (tuple, Mapping):
        yield origin
    elif origin is None:
        yield annotation
    else:
        parts = get_args(annotation)
        for part in parts[:1] if origin is Annotated else parts:
            yield from _types(part)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    for name, meant in names.unknown_names(environ):
        hint = f", did you mean {meant}?" if meant else ""
        yield f"environment {escaped(name)}: unknown name{hint}"


def _take(layer: Layer, key: str, environ: Mapping[str, str]) -> None:
    """Take a setting from the variables that may hold it; they must agree."""
    found = [name for name in names.values_of(key) if is_set(environ, name)]
    if not found:
        return
    values = [parse(key, environ[name]) for name in found]
    if any(value != values[0] for value in values):
        listed = " and ".join(found)
        layer.problems.append(f"environment {listed}: set together and different, keep one")
    layer.given[key] = Given(values[0], f"environment {found[0]}")


def _take_redis_parts(layer: Layer, environ: Mapping[str, str]) -> None:
    """Make a URL of ``REDIS_HOST`` and ``REDIS_PORT``, where no URL is given beside them."""
    host, port = (environ.get(name, "").strip() for name in names.REDIS_PARTS)
    if link := re.fullmatch(r"tcp://.*:(\d{1,5})", port):  # Kubernetes and Docker links
        port = link[1] if host else ""
    if not host and not port:
        return
    if winner := _url_variable(environ):
        layer.notes.append(f"environment {winner} wins over REDIS_HOST and REDIS_PORT")
    elif problem := _redis_problem(host, port):
        layer.problems.append(problem)
    else:
        place = f"[{host}]" if ":" in host else host
        given = Given(f"redis://{place}:{port or 6379}/0", "environment REDIS_HOST")
        layer.given["redis.url"] = given


def _url_variable(environ: Mapping[str, str]) -> str | None:
    candidates = [*names.values_of("redis.url"), *names.files_of("redis.url")]
    return next((name for name in candidates if is_set(environ, name)), None)


def _redis_problem(host: str, port: str) -> str | None:
    if not host:
        return "environment REDIS_PORT: set without REDIS_HOST"
    if not is_host(host):
        return "environment REDIS_HOST: must be a host name or an IP address"
    if port and not (re.fullmatch(r"\d{1,5}", port, re.ASCII) and 1 <= int(port) <= PORT_MAX):
        return f"environment REDIS_PORT: must be a whole number from 1 to {PORT_MAX}"
    return None
