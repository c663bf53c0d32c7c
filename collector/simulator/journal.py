"""The log of the calls that came in, for tests that count them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from collector.simulator.call import Call


@dataclass(frozen=True, slots=True)
class Entry:
    """One call: its arrival in monotonic and in wall-clock seconds, and the answer's status and
    bytes of body sent.

    ``path`` begins with a slash; ``query`` is without the key. The ``status`` of a dropped
    connection is 0.
    """

    monotonic: float
    wall: float
    path: str
    query: Mapping[str, str]
    status: int
    bytes: int

    @classmethod
    def of(cls, call: Call, monotonic: float, wall: float, status: int, sent: int) -> Entry:
        """The entry for ``call``."""
        return cls(monotonic, wall, f"/{call.path}", call.query, status, sent)


class Journal:
    """The newest ``size`` entries, in the order of their arrival."""

    def __init__(self, size: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)

    def add(self, entry: Entry) -> None:
        """Note one call."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget every call."""
        self._entries.clear()

    def rows(self) -> list[dict[str, object]]:
        """The entries as JSON has them."""
        return [asdict(entry) for entry in self._entries]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
