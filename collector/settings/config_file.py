"""``config.toml`` as a layer."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from collector.settings import names
from collector.settings.layer import Given, Layer, escaped
from collector.settings.model import FIELDS, SECTIONS
from collector.settings.secret_files import Unreadable, is_open_to_others, read_text

DEFAULT_NAME = "config.toml"
CONFIG_BYTES = 1024 * 1024


def find(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: the named one, ``COLLECTOR_CONFIG``, ``./config.toml``, or none."""
    if named is not None:
        return named
    if told := environ.get(names.CONFIG, "").strip():
        return Path(told)
    here = Path(DEFAULT_NAME)
    return here if here.is_symlink() or here.exists() else None


def config_file(path: Path) -> Layer:
    """Read every setting in the file, and find what is unknown in it."""
    layer = Layer()
    label = escaped(str(path), most=4096)
    try:
        text, mode = read_text(path, CONFIG_BYTES)
        tables = tomllib.loads(text)
    except Unreadable as error:
        layer.problems.append(f"{label}: {error}")
    except (ValueError, RecursionError) as error:
        layer.problems.append(_syntax(label, error))
    else:
        _take_tables(layer, tables, _Places(label, text))
        if is_open_to_others(mode) and layer.given.keys() & set(names.SECRET_KEYS):
            layer.notes.append(f"{label}: holds a secret and others may read it; chmod 600 it")
    return layer


def _syntax(label: str, error: Exception) -> str:
    """Return ``file:line:column: reason``. tomllib's reasons quote keys at most, never values."""
    parts = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{label}: is not valid TOML"
    if parts is None:
        return f"{label}: {escaped(str(error))}"
    return f"{label}:{parts[2]}:{parts[3]}: {escaped(parts[1])}"


class _Places:
    """Where the keys of the file stand, found by a plain look at its lines: good for a message."""

    _TABLE = re.compile(r"\s*\[\s*([\w-]+)\s*\]")
    _ENTRY = re.compile(r"\s*(?:([\w-]+)\s*\.\s*)?([\w-]+)\s*=")

    def __init__(self, label: str, text: str) -> None:
        self._label = label
        self._lines = dict(self._entries(text.splitlines()))

    def _entries(self, lines: list[str]) -> Iterator[tuple[tuple[str, str], int]]:
        table = ""
        for number, line in enumerate(lines, start=1):
            if found := self._TABLE.match(line):
                table = found[1]
                yield (table, ""), number
            elif found := self._ENTRY.match(line):
                yield (found[1] or table, found[2]), number

    def of(self, table: str, name: str = "") -> str:
        """Return ``config.toml:12 [table] name``; the line is the table's where need be."""
        looked_for = ((table, name), ("", table), (table, ""))
        line = next((self._lines[each] for each in looked_for if each in self._lines), None)
        place = f"{self._label}:{line}" if line else self._label
        return f"{place} [{escaped(table)}] {escaped(name)}".rstrip()


def _take_tables(layer: Layer, tables: Mapping[str, object], places: _Places) -> None:
    for section, table in tables.items():
        if section not in SECTIONS:
            layer.problems.append(f"{places.of(section)}: {_unknown_section(section)}")
        elif not isinstance(table, dict):
            layer.problems.append(f"{places.of(section)}: must be a table [{section}]")
        else:
            for name, value in table.items():
                _take(layer, section, name, value, places)


def _take(layer: Layer, section: str, name: str, value: object, places: _Places) -> None:
    origin = places.of(section, name)
    if f"{section}.{name}" in FIELDS:
        layer.given[f"{section}.{name}"] = Given(value, origin)
    else:
        layer.problems.append(f"{origin}: unknown setting{_hint(section, name)}")


def _unknown_section(section: str) -> str:
    """Say what an unknown name outside of all tables may have meant: a table or a setting."""
    owner = next((key for key in FIELDS if key.partition(".")[2] == section), None)
    if owner:
        return f"unknown table, did you mean {_shown(owner)}?"
    meant = names.nearest(section, SECTIONS)
    return f"unknown table, did you mean [{meant}]?" if meant else "unknown table"


def _hint(section: str, name: str) -> str:
    """Say what an unknown name in a table may have meant: there, else in any table."""
    mine = [key.partition(".")[2] for key in FIELDS if key.startswith(f"{section}.")]
    if meant := names.nearest(name, mine):
        return f", did you mean {meant}?"
    elsewhere = {key.partition(".")[2]: key for key in reversed(FIELDS)}
    if close := names.nearest(name, elsewhere):
        return f", did you mean {_shown(elsewhere[close])}?"
    return ""


def _shown(key: str) -> str:
    section, _, name = key.partition(".")
    return f"[{section}] {name}"
