"""The composition root: the only place that builds clients and hands them on."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from collector import logs
from collector.clock import Clock, clock
from collector.collect.publishing import Publishing
from collector.collect.run import Rooms
from collector.errors import UsageError
from collector.market.plan import Rules
from collector.market.schedule import Schedule
from collector.market.sessions import Calendar, calendar
from collector.settings import Settings, data_dir, load, secrets

log = logging.getLogger(__name__)

REACHABLE_WITHIN_S = 8.0  # so that a run without its database says so within ten seconds

NO_KEY = """\
no FMP API key: set FMP_API_KEY, or FMP_API_KEY_FILE to a file that holds it
a key is had at https://site.financialmodelingprep.com (the free plan is enough to try)
or try without one: add --demo"""

DEMO_WITH_A_DATABASE = """\
--demo refuses to run where a database or Redis is configured ({names}): simulated prices must never reach it
unset it, or leave --demo out"""


@dataclass(frozen=True)
class Setup:
    """What a command was told, by its line, the environment and the files."""

    settings: Settings
    demo: bool
    home: Path
    clock: Clock

    @property
    def calendar(self) -> Calendar:
        """The exchange's calendar; `UsageError` where ``schedule.exchange`` is unknown."""
        try:
            return calendar(self.settings.schedule.exchange, self.clock())
        except ValueError as error:
            raise UsageError(f"schedule.exchange: {error}") from None

    @property
    def schedule(self) -> Schedule:
        """When bars are due."""
        told = self.settings.schedule
        return Schedule(
            ZoneInfo(told.timezone),
            tuple(time.fromisoformat(at) for at in told.daily_at),
            timedelta(seconds=told.hourly_delay_s),
            timedelta(seconds=told.weekly_delay_s),
        )


def setup(config: Path | None, *, demo: bool, environ: Mapping[str, str]) -> Setup:
    """Read the settings and set up the log. Raises `UsageError` with all that is wrong."""
    settings = load(config, environ=environ)
    logs.setup(settings.log.level, settings.log.format)
    for secret in secrets(settings):
        logs.hide(secret)
    for note in settings.notes:
        log.warning("%s", note)
    if not settings.log.per_ticker:
        logging.getLogger("collector.per_ticker").setLevel(logging.WARNING)
    home = data_dir(settings, environ)
    if demo:
        settings, home = _demo(settings), home / "demo"
    return Setup(settings, demo, home, clock(settings.clock.starts_at))


def _demo(settings: Settings) -> Settings:
    """The settings of a demo, which must not touch a real database. The simulator comes later."""
    told = {"postgres.dsn": settings.postgres.dsn, "redis.url": settings.redis.url}
    names = ", ".join(name for name, value in told.items() if value is not None)
    if names:
        raise UsageError(DEMO_WITH_A_DATABASE.format(names=names))
    fmp = settings.fmp.model_copy(update={"api_key": SecretStr("demo"), "requests_per_minute": None})
    return settings.model_copy(update={"fmp": fmp})
