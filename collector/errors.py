"""One root, sorted by what the caller must do.

::

    CollectorError
    ├── UsageError            stop: the command line or the configuration is wrong (exit 2)
    ├── SchemaMismatch        stop: the database holds another schema (exit 6)
    ├── LockHeld              stop: another instance fetches (exit 75)
    ├── DatabaseUnavailable   wait, then give up on the batch (kind ``db_unavailable``)
    ├── DatabaseRejected      pass over the ticker (kind ``db_rejected``)
    └── FetchError            a ticker's call failed; carries its ``kind``
        ├── Transient         try again: ``server network timeout bad_body``
        ├── Throttled         pause everything, then try again: ``rate_limited``
        ├── Refused           stop all calls: ``auth quota plan``, or no answer any more
        └── Failed            pass over the ticker: ``plan not_found tls too_large …``
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Why a ticker was rejected, failed or not attempted (contract, section 6)."""

    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    AUTH = "auth"
    PLAN = "plan"
    NOT_FOUND = "not_found"
    SERVER = "server"
    NETWORK = "network"
    TIMEOUT = "timeout"
    TLS = "tls"
    BAD_BODY = "bad_body"
    TOO_LARGE = "too_large"
    SCHEMA = "schema"
    BAD_ROWS = "bad_rows"
    MISMATCH = "mismatch"
    DB_UNAVAILABLE = "db_unavailable"
    DB_REJECTED = "db_rejected"
    CANCELLED = "cancelled"


class CollectorError(Exception):
    """Every error that this program raises on purpose."""

    exit_code = 4


class UsageError(CollectorError):
    """The command line or the configuration is wrong; the message says what to write instead."""

    exit_code = 2


class SchemaMismatch(CollectorError):
    """The database holds a newer schema, or foreign tables of our names."""

    exit_code = 6


class LockHeld(CollectorError):
    """Another instance fetches; the message names it."""

    exit_code = 75


class DatabaseUnavailable(CollectorError):
    """PostgreSQL did not answer within its deadline; trying again can help."""


class DatabaseRejected(CollectorError):
    """PostgreSQL refused the rows or the statement; trying again cannot help."""


class FetchError(CollectorError):
    """A call to FMP failed. ``kind`` is what the report says of the ticker."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Transient(FetchError):
    """Trying again soon can help."""


class Throttled(FetchError):
    """The server asks to slow down. ``retry_after_s`` is its wish in seconds, if it named one."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(Kind.RATE_LIMITED, message)
        self.retry_after_s = retry_after_s


class Refused(FetchError):
    """Key, plan or quota refuse every further call: the run stops calling (exit 5).

    ``called`` is false where an earlier refusal had stopped the calls before this one was sent.
    """

    def __init__(self, kind: Kind, message: str, *, called: bool = True) -> None:
        super().__init__(kind, message)
        self.called = called


class Failed(FetchError):
    """This ticker's call cannot succeed now; others may."""
