"""SIGTERM and SIGINT: the first stops cleanly, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Stop:
    """Set by the first signal, whose number is ``by``.

    While ``starting`` is a task, a signal cancels it: there is no work yet that must end cleanly.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    starting: asyncio.Task[Any] | None = None
    by: int | None = None

    def __call__(self, number: int) -> None:
        """Take a signal. The second one ends the process with its exit code, and no clean-up."""
        if self.by is not None:
            os._exit(128 + number)
        self.by = number
        self.event.set()
        if self.starting is not None:
            self.starting.cancel()


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Until `stop_on_signals`: a signal ends the process at once, as nothing has begun yet."""
    before = {number: signal.signal(number, _exit) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _: object) -> None:
    os._exit(128 + number)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle the signals of the running loop until the end of the block."""
    stop, loop = Stop(starting=asyncio.current_task()), asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
