"""What the database holds, as far as two runs can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.servers import PostgresServer

# The text of a row is exact: PostgreSQL prints the shortest decimal that reads back as the same.
SUMS = """
SELECT json_build_object(
    'daily_prices', (SELECT md5(string_agg(t::text, ',' ORDER BY ticker, date))
                     FROM daily_prices AS t),
    'weekly_prices', (SELECT md5(string_agg(t::text, ',' ORDER BY ticker, date))
                      FROM weekly_prices AS t),
    'ticker_state', (SELECT md5(string_agg(
        concat_ws('|', ticker, timeframe, first_bar, last_bar, asked_through, rev), ','
        ORDER BY ticker, timeframe)) FROM ticker_state),
    'price_revisions', (SELECT count(*) FROM price_revisions)
)
"""
ITEMS = """
SELECT coalesce(json_agg(json_build_array(ticker, outcome, kind, inserted, revised)
    ORDER BY ticker), '[]') FROM run_items WHERE run = '{run}'
"""
RUNS = (
    "SELECT coalesce(json_agg(json_build_array(run, status) ORDER BY started_at), '[]') FROM runs"
)
ROWS = """
SELECT coalesce(json_object_agg(ticker, n), '{}')
FROM (SELECT ticker, count(*) AS n FROM daily_prices GROUP BY ticker) AS t
"""
TICKER_ROWS = """
SELECT coalesce(json_object_agg(ticker, sum), '{}') FROM (
    SELECT ticker, md5(string_agg(t::text, ',' ORDER BY date)) AS sum
    FROM daily_prices AS t GROUP BY ticker) AS s
"""
BUSY = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'collector' AND wait_event_type = 'Lock' AND query LIKE '%daily_prices%'
"""


@dataclass(frozen=True)
class Tables:
    """The tables of one database."""

    server: PostgresServer
    dsn: str

    def ask(self, sql: str) -> str:
        """The answer to ``sql``, as text."""
        return self.server.sql(sql, self.dsn.partition("?")[0].rpartition("/")[2])

    def sums(self) -> dict[str, str]:
        """A checksum of each table that must not depend on a fault."""
        found: dict[str, str] = json.loads(self.ask(SUMS))
        return found

    def items(self, run: str) -> list[list[object]]:
        """Ticker, outcome, kind and row counts of a run's items."""
        found: list[list[object]] = json.loads(self.ask(ITEMS.format(run=run)))
        return found

    def runs(self) -> dict[str, str]:
        """The status of every run, the oldest first."""
        return dict(json.loads(self.ask(RUNS)))

    def rows(self) -> dict[str, int]:
        """How many daily bars each ticker has."""
        found: dict[str, int] = json.loads(self.ask(ROWS))
        return found

    def sum_by_ticker(self) -> dict[str, str]:
        """A checksum of each ticker's daily bars."""
        found: dict[str, str] = json.loads(self.ask(TICKER_ROWS))
        return found

    def blocked_backend(self) -> int | None:
        """The server process of ours that waits for a lock on the prices, if there is one."""
        pid = self.ask(BUSY)
        return int(pid.splitlines()[0]) if pid else None
