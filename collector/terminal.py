"""What a person sees: a progress bar on a terminal, a line now and then elsewhere, and results."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from collector.collect import progress
from collector.collect.report import Item, Report, Status

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0
PROBLEMS_SHOWN = 20
NAMED = 5  # tickers of one problem


@contextmanager
def shown() -> Iterator[progress.Progress]:
    """Show a run's progress on stderr, in the way that fits what stderr is."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} failed"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        yield Bar(bar)


@dataclass
class Bar:
    """A progress bar with rate, time left and failures."""

    bar: Progress
    task: TaskID | None = None
    failed: int = 0

    def start(self, total: int) -> None:
        """Show an empty bar."""
        self.task = self.bar.add_task("fetching", total=total, failed=0)

    def ended(self, item: Item) -> None:
        """Move the bar on by a ticker."""
        self.failed += item.outcome.is_problem
        if self.task is not None:
            self.bar.update(self.task, advance=1, failed=self.failed)

    def phase(self, name: str) -> None:
        """Show what the run does now."""
        if self.task is not None:
            self.bar.update(self.task, description=name)


@dataclass
class Lines:
    """A log line every ten seconds."""

    total: int = 0
    done: int = 0
    failed: int = 0
    _began: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def start(self, total: int) -> None:
        """Note how many tickers there are."""
        self.total = total

    def ended(self, item: Item) -> None:
        """Count a ticker, and write the line when it is due."""
        self.done += 1
        self.failed += item.outcome.is_problem
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            pace = self.done / (now - self._began)
            left_s = (self.total - self.done) / pace
            log.info(
                "%d of %d tickers, %d failed, %.0f a minute, about %.0f s left",
                self.done,
                self.total,
                self.failed,
                pace * 60,
                left_s,
            )

    def phase(self, name: str) -> None:
        """Write what the run does now."""
        log.info("%s", name)


class _Rate(ProgressColumn):
    """Tickers a minute."""

    def render(self, task: Task) -> Text:
        """The rate, as the bar knows it."""
        return Text(f"{(task.speed or 0) * 60:.0f}/min")


def summary(report: Report) -> str:
    """The report for a person: what came of the run, and what to look at."""
    tickers = ", ".join(f"{count} {name}" for name, count in report.tickers.items() if count)
    rows, api, cache = report.rows, report.api, report.cache
    lines = [
        f"run {report.run}: {report.status} in {report.seconds:.1f} s",
        f"  tickers  {tickers}",
        f"  rows     {rows['fetched']:,} fetched, {rows['inserted']:,} inserted, "
        f"{rows['revised']:,} revised, {rows['rejected']:,} rejected",
        f"  api      {api['calls']:,} calls, {api['retries']:,} retries, "
        f"{api['throttled']:,} throttled, {api['bytes'] / 1e6:,.1f} MB",
        f"  cache    {cache['published']:,} published, {cache['failed']:,} failed, "
        f"{cache['round_trips']:,} round trips, {cache['bytes'] / 1e6:,.1f} MB",
    ]
    if report.cache_reason:
        lines[-1] += f" (Redis: {report.cache_reason})"
    return "\n".join([*lines, *_problems(report)])


def _problems(report: Report) -> Iterator[str]:
    """One line for all tickers that have the same problem, the first lines only."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for item in report.problems:
        alike.setdefault((item.outcome, str(item.kind), item.message), []).append(item.ticker)
    for (outcome, kind, message), tickers in list(alike.items())[:PROBLEMS_SHOWN]:
        more = f" and {len(tickers) - NAMED} more" if len(tickers) > NAMED else ""
        yield f"  {outcome:<13} {', '.join(tickers[:NAMED])}{more}: {kind}: {message}"
    if len(alike) > PROBLEMS_SHOWN:
        yield f"  and {len(alike) - PROBLEMS_SHOWN} more problems: see run_items, or --json"
    if report.status is Status.INTERRUPTED:
        yield "  the same command again goes on from here"
