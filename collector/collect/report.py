"""What a run says of itself: an outcome for every ticker, the sums, and the exit code. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from collector.errors import Kind
from collector.market.timeframe import Timeframe


class Outcome(StrEnum):
    """How a ticker of a run ended: exactly one of these."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    REJECTED = "rejected"
    FAILED = "failed"
    NOT_ATTEMPTED = "not_attempted"

    @property
    def is_problem(self) -> bool:
        """Whether the ticker is named among the report's problems."""
        return self in (Outcome.REJECTED, Outcome.FAILED, Outcome.NOT_ATTEMPTED)


class Status(StrEnum):
    """How a run ended, or that it goes on."""

    RUNNING = "running"
    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


# Of several answers for one ticker (a backfill has one a window) the later in this list decides.
_WEIGHT = {
    outcome: weight
    for weight, outcome in enumerate(
        (
            Outcome.EMPTY,
            Outcome.UNCHANGED,
            Outcome.STORED,
            Outcome.NOT_ATTEMPTED,
            Outcome.REJECTED,
            Outcome.FAILED,
        )
    )
}


@dataclass(frozen=True)
class Item:
    """A ticker's outcome; a problem has a kind and a message."""

    ticker: str
    outcome: Outcome
    kind: Kind | None = None
    message: str = ""


@dataclass
class Tally:
    """The items and row counts of a run, as they come in."""

    asked: tuple[str, ...]
    items: dict[str, Item] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, item: Item) -> Item:
        """Note ``item``, or keep the ticker's graver one. Returns what stands."""
        known = self.items.get(item.ticker)
        if known is None or _WEIGHT[item.outcome] >= _WEIGHT[known.outcome]:
            self.items[item.ticker] = item
        return self.items[item.ticker]

    def missing(self) -> Iterator[str]:
        """The tickers that have no item yet."""
        return (ticker for ticker in self.asked if ticker not in self.items)

    def problems(self) -> list[Item]:
        """The items that need a look, in the order in which the tickers were asked for."""
        known = (self.items[ticker] for ticker in self.asked if ticker in self.items)
        return [item for item in known if item.outcome.is_problem]


@dataclass(frozen=True)
class Report:
    """A finished run, as ``--json`` prints it and the table ``runs`` keeps it.

    ``seconds`` is what it took by a clock that nobody sets.
    ``api`` counts requests sent (``calls``, retries included), ``retries``, answers that said slow
    down (``throttled``) and ``bytes`` after decompression. ``cache`` counts values ``published``
    and ``failed``, ``round_trips`` and ``bytes``. ``refused`` is why all calls were stopped.
    """

    run: str
    timeframe: Timeframe
    status: Status
    started_at: datetime
    finished_at: datetime
    seconds: float
    tickers: dict[str, int]
    rows: dict[str, int]
    api: dict[str, int]
    cache: dict[str, int]
    problems: tuple[Item, ...]
    refused: Kind | None = None
    cache_reason: str = ""

    def as_json(self) -> dict[str, object]:
        """The document that ``--json`` prints and the table ``runs`` keeps."""
        return {
            "run": self.run,
            "timeframe": self.timeframe.value,
            "status": self.status.value,
            "started_at": _instant(self.started_at),
            "finished_at": _instant(self.finished_at),
            "seconds": self.seconds,
            "tickers": self.tickers,
            "rows": self.rows,
            "api": self.api,
            "cache": self.cache,
            "problems": [_problem(item) for item in self.problems],
        }


def summarise(
    tally: Tally, *, interrupted: bool
) -> tuple[Status, dict[str, int], dict[str, int], tuple[Item, ...]]:
    """Sum up ``tally``: status, tickers by outcome, rows by fate, and the problems."""
    outcomes = Counter(item.outcome for item in tally.items.values())
    tickers = {"asked": len(tally.asked)} | {name.value: outcomes[name] for name in Outcome}
    rows = {name: tally.rows[name] for name in ("fetched", "inserted", "revised", "rejected")}
    status = Status.INTERRUPTED if interrupted else _status(tally.items.values())
    return status, tickers, rows, tuple(tally.problems())


def _status(items: Iterable[Item]) -> Status:
    problems = [item.outcome.is_problem for item in items]
    if not any(problems):
        return Status.OK
    return Status.FAILED if all(problems) else Status.PARTIAL


def exit_code(report: Report, stopped_by: int | None = None) -> int:
    """The exit code of a command: 0, 3, 4 or 5, or 128 + the signal that stopped it.

    A refusal of key, plan or quota that stopped the run comes first, then nothing stored, then
    any failed ticker (contract, section 2).
    """
    if stopped_by is not None:
        return 128 + stopped_by
    if report.refused in (Kind.AUTH, Kind.PLAN, Kind.QUOTA, Kind.RATE_LIMITED):
        return 5
    return {Status.FAILED: 4, Status.PARTIAL: 3, Status.SKIPPED: 75}.get(report.status, 0)


def _problem(item: Item) -> dict[str, str | None]:
    return {
        "ticker": item.ticker,
        "outcome": item.outcome.value,
        "kind": item.kind.value if item.kind else None,
        "message": item.message,
    }


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
