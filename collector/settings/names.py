"""The names of the environment that mean something here, and the names that nearly do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from collector.settings.model import FIELDS

CONVENTIONAL = {
    "FMP_API_KEY": "fmp.api_key",
    "FMP_BASE_URL": "fmp.base_url",
    "DATABASE_URL": "postgres.dsn",
    "REDIS_URL": "redis.url",
    "ENABLE_SCHEDULER_CACHING": "cache.enabled",
    "COLLECTOR_DATA_DIR": "engines.data_dir",
}
"""Names that other programs use too, and the setting that each stands for."""

SECRET_KEYS = ("fmp.api_key", "postgres.dsn", "redis.url")
REDIS_PARTS = ("REDIS_HOST", "REDIS_PORT")
CONFIG = "COLLECTOR_CONFIG"
PREFIX = "COLLECTOR_"


def variable(key: str) -> str:
    """Return ``COLLECTOR_SECTION__NAME`` for ``section.name``."""
    return PREFIX + key.replace(".", "__").upper()


VALUE_NAMES: dict[str, str] = {**CONVENTIONAL, **{variable(key): key for key in FIELDS}}
FILE_NAMES: dict[str, str] = {
    f"{name}_FILE": key for name, key in VALUE_NAMES.items() if key in SECRET_KEYS
}
KNOWN = frozenset([*VALUE_NAMES, *FILE_NAMES, *REDIS_PARTS, CONFIG])
_WITHOUT_PREFIX = tuple(sorted(name for name in KNOWN if not name.startswith(PREFIX)))
_WITH_PREFIX = tuple(sorted(KNOWN.difference(_WITHOUT_PREFIX)))

# Kubernetes and Docker links put these into the environment for a service that is itself called
# "collector" or "collector-…".
_LINK = re.compile(
    r"COLLECTOR_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_PORT = re.compile(r"COLLECTOR_(\w+_)?PORT")


def values_of(key: str) -> list[str]:
    """Return the variables that may hold ``key``."""
    return [name for name, meant in VALUE_NAMES.items() if meant == key]


def files_of(key: str) -> list[str]:
    """Return the variables that may name a file with ``key``."""
    return [name for name, meant in FILE_NAMES.items() if meant == key]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` was probably meant to be."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower()[:100], by_lower, n=1)
    return by_lower[close[0]] if close else None


def unknown_names(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield every name that is ours or nearly ours but means nothing, and what it may have meant.

    Ours is what starts with ``COLLECTOR_``. Nearly ours is a name that `is_nearly` a known one.
    Any other name belongs to somebody else.
    """
    for name in sorted(environ):
        if name in KNOWN:
            continue
        if name.upper().startswith(PREFIX):
            if not is_link(name, environ[name]):
                yield name, nearest(name, KNOWN)
        elif meant := next((known for known in _like(name) if is_nearly(name, known)), None):
            yield name, meant


def _like(name: str) -> Iterable[str]:
    """Return the known names worth a comparison: it is slow, and an environment may be large."""
    first = name.partition("_")[0].upper()
    return _WITH_PREFIX if edits(first, PREFIX[:-1], 2) <= 2 else _WITHOUT_PREFIX


def is_link(name: str, value: str) -> bool:
    """Tell whether an orchestrator wrote the variable for a service of our name."""
    if _LINK.fullmatch(name):
        return True
    return bool(_LINK_PORT.fullmatch(name)) and value.startswith(("tcp://", "udp://"))


def is_nearly(name: str, known: str) -> bool:
    """Tell whether ``name`` is ``known`` with a slip of the finger.

    That is: at most two letters missing, added, wrong or swapped (so ``DATABSE_URL``,
    ``FMP_APIKEY``, ``REDIS_ULR``, also ``database_url``). It is not a longer name
    (``DATABASE_URL2``), and no short word is replaced (``REDIS_SSL`` is not ``REDIS_URL``).
    """
    folded = name.upper()
    if folded == known:
        return name != known
    if folded.startswith(known) or edits(folded, known, 2) > 2:
        return False
    words, known_words = folded.split("_"), known.split("_")
    if len(words) != len(known_words):
        return True
    pairs = zip(words, known_words, strict=True)
    return all(edits(word, meant, 2) <= max(1, len(meant) // 4) for word, meant in pairs)


def edits(one: str, other: str, most: int) -> int:
    """Count the letters to insert, delete, replace or swap with a neighbour, up to ``most + 1``.

    This is the optimal string alignment distance.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], last[j - 2] + 1)
    return min(row[-1], most + 1)
