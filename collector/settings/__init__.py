"""What ``config.toml`` and the environment may say. Frozen once it is read.

`load` reads the layers (command line, environment, secret files, ``config.toml``), lets
pydantic-settings put them over one another and pydantic judge them, and raises one
`UsageError` with every problem. No message repeats a value: it may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collector.errors import UsageError
from collector.settings import names
from collector.settings.config_file import config_file, find
from collector.settings.environment import environment, parse
from collector.settings.layer import Given, Layer, LayerSource, escaped
from collector.settings.model import FIELDS, Settings, contradictions, secrets
from collector.settings.secret_files import RUN_SECRETS, secret_files

__all__ = ["FIELDS", "Settings", "data_dir", "load", "secrets"]

_NOTHING: Mapping[str, object] = {}


def load(
    config: Path | None,
    *,
    overrides: Mapping[str, object] = _NOTHING,
    environ: Mapping[str, str],
    run_secrets: Path = RUN_SECRETS,
) -> Settings:
    """Return the settings, or raise one `UsageError` with a line for every problem.

    ``config`` is the file of ``--config``. ``overrides`` are the command line's, by key
    (``{"log.level": "debug"}``); None means that the option was not given.
    """
    layers = [_command_line(overrides), environment(environ), secret_files(environ, run_secrets)]
    if path := find(config, environ):
        layers.append(config_file(path))
    settings, wrong = _settle([layer.given for layer in layers])
    problems = [problem for layer in layers for problem in layer.problems] + wrong
    if problems:
        raise UsageError("\n".join(problems))
    notes = tuple(note for layer in layers for note in layer.notes)
    return settings.model_copy(update={"notes": notes})


def _command_line(overrides: Mapping[str, object]) -> Layer:
    layer = Layer()
    for key, value in overrides.items():
        if key not in FIELDS:
            near = names.nearest(key, FIELDS)
            hint = f", did you mean {near}?" if near else ""
            layer.problems.append(f"command line {escaped(key)}: unknown setting{hint}")
        elif value is not None:
            parsed = parse(key, value) if isinstance(value, str) else value
            layer.given[key] = Given(parsed, f"command line {key}")
    return layer


def _settle(layers: list[dict[str, Given]]) -> tuple[Settings, list[str]]:
    """Put the layers over one another, the first on top, and judge the result.

    A setting that is wrong alone is left out of the second look, at what goes together.
    """
    origins: dict[str, str] = {}
    for layer in layers:
        for key, given in layer.items():
            origins.setdefault(key, given.origin)
    try:
        settings, wrong = _build(layers), dict[str, str]()
    except ValidationError as error:
        wrong = _wrong(error)
        good = [{key: layer[key] for key in layer if key not in wrong} for layer in layers]
        settings = _build(good)
    for key, reason in contradictions(settings):
        if "fmp.base_url" not in wrong:
            wrong[key] = reason
    return settings, [f"{origins[key]}: {reason}" for key, reason in wrong.items()]


def _build(layers: list[dict[str, Given]]) -> Settings:
    sources = tuple(LayerSource(layer) for layer in layers)
    given: dict[str, Any] = {"_build_sources": (sources, {})}  # mypy does not know this argument
    return Settings(**given)


def _wrong(error: ValidationError) -> dict[str, str]:
    """Return what is allowed for each setting that is wrong, with our own reason where we have one.

    Of pydantic's errors only the place is used, and the text of our own `ValueError`s: its own
    texts and inputs may hold a secret.
    """
    reasons: dict[str, str] = {}
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(map(str, each["loc"][:2]))
        own = each["msg"].removeprefix("Value error, ") if each["type"] == "value_error" else ""
        reason = f"must be {FIELDS[key].description}"
        reasons.setdefault(key, f"{reason} ({own})" if own else reason)
    return reasons


def data_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the absolute path of the home of the embedded engines.

    It is ``engines.data_dir``, else ``/var/lib/collector`` for root and
    ``$XDG_DATA_HOME/collector`` or ``~/.local/share/collector`` for anybody else.
    """
    told = settings.engines.data_dir
    if told is not None and told != "~" and not told.startswith("~/"):
        return Path(told).absolute()
    if told is None and os.geteuid() == 0:
        return Path("/var/lib/collector")
    if told is None and (shared := environ.get("XDG_DATA_HOME", "")).startswith("/"):
        return Path(shared) / "collector"
    return _home(environ) / (told[1:].lstrip("/") if told else ".local/share/collector")


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    try:
        return Path(home) if home.startswith("/") else Path.home()
    except RuntimeError:
        raise UsageError("no home directory is known: set COLLECTOR_DATA_DIR") from None
