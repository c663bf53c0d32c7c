"""Whether calls may be sent at all, after what the server has said.

Open, until an answer asks to slow down or the server fails too often in a row: then everything
pauses. After a pause one call goes ahead as a probe, and the others follow when it is answered.
A pause that brings no good answer is followed by another; after three of them the gate is shut
for good, as it is at once when key, plan or quota refuse.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from collector.errors import FetchError, Kind, Refused

log = logging.getLogger(__name__)

PAUSES_IN_A_ROW = 3
OUTAGE = 20  # failed calls in a row, without a good answer between
EVERYTHING = ""  # the path of a stop that concerns every path


@dataclass(frozen=True)
class Pass:
    """A call's leave to go. ``pauses`` is how many pauses there were before it."""

    pauses: int
    probe: bool


class Gate:
    """What all calls of a client wait behind. One caller at a time awaits `opened`."""

    def __init__(self, outage_pause_s: float = 5.0) -> None:
        self._outage_pause_s = outage_pause_s
        self._stops: dict[str, Refused] = {}
        self._news = asyncio.Event()
        self._resume_at = 0.0
        self._pauses = 0  # ever
        self._in_a_row = 0
        self._failures = 0
        self._probe_is_out = False

    async def opened(self, path: str) -> None:
        """Wait until a call of ``path`` may go; raises `Refused` once none may any more.

        It ends: pauses have an end, and the probe has its deadline.
        """
        while not self.is_open:
            self.check(path)
            self._news.clear()
            pause_s = self._resume_at - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(None if self._probe_is_out else max(pause_s, 0.0)):
                    await self._news.wait()
            except TimeoutError:
                continue
        self.check(path)

    @property
    def is_open(self) -> bool:
        """Whether a call may go now."""
        paused = asyncio.get_running_loop().time() < self._resume_at
        return not (paused or self._probe_is_out)

    def check(self, path: str) -> None:
        """Raise `Refused` if calls of ``path`` were stopped for good."""
        stop = self._stops.get(EVERYTHING) or self._stops.get(path)
        if stop is not None:
            raise Refused(stop.kind, str(stop), called=False)

    def enter(self) -> Pass:
        """Let a call go; it must `leave`."""
        self._probe_is_out = self._in_a_row > 0
        return Pass(self._pauses, probe=self._probe_is_out)

    def leave(self, leave: Pass) -> None:
        """A call has ended, in whatever way: after a probe without an answer the next one goes."""
        if leave.probe and leave.pauses == self._pauses:
            self._probe_is_out = False
        self._news.set()

    def good(self, leave: Pass) -> None:
        """The server answered, and lives; an answer to a call from before a pause is no proof."""
        if leave.pauses == self._pauses:
            self._failures = 0
            self._in_a_row = 0

    def throttled(self, leave: Pass, error: FetchError, pause_s: float) -> None:
        """The server asks everyone to slow down for ``pause_s`` seconds."""
        if leave.pauses < self._pauses:  # of the burst that led to this pause
            self._extend(pause_s)
        elif self._in_a_row == PAUSES_IN_A_ROW:
            self.stop(_after_pauses(error))
        else:
            log.info("rate limited, pausing all requests %.3g s", pause_s)
            self._pause(pause_s)

    def failed(self, leave: Pass, error: FetchError) -> None:
        """The server did not give an answer that counts."""
        if leave.pauses < self._pauses:
            return
        self._failures += 1
        if self._failures < OUTAGE and not leave.probe:
            return
        if self._in_a_row == PAUSES_IN_A_ROW:
            self.stop(_after_pauses(error))
            return
        pause_s = self._outage_pause_s * 2**self._in_a_row
        level = logging.DEBUG if leave.probe else logging.ERROR  # once per edge
        log.log(level, "FMP does not answer, pausing all requests %.3g s: %s", pause_s, error)
        self._pause(pause_s)

    def stop(self, refusal: Refused, path: str = EVERYTHING) -> None:
        """Shut for good, for ``path`` alone if it is given."""
        self._stops.setdefault(path, refusal)
        self._news.set()

    def _pause(self, pause_s: float) -> None:
        self._pauses += 1
        self._in_a_row += 1
        self._probe_is_out = False
        self._extend(pause_s)

    def _extend(self, pause_s: float) -> None:
        resume_at = asyncio.get_running_loop().time() + pause_s
        self._resume_at = max(self._resume_at, resume_at)
        self._news.set()


def _after_pauses(error: FetchError) -> Refused:
    kind = Kind.SERVER if error.kind is Kind.BAD_BODY else error.kind
    return Refused(kind, f"no good answer after {PAUSES_IN_A_ROW} pauses in a row: {error}"[:200])
