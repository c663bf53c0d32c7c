"""What a database error means for the caller. Pure.

By SQLSTATE (PostgreSQL's documentation, appendix A), and by the type where the error never came
from the server: a lost connection surfaces in asyncpg as at least `ConnectionDoesNotExistError`,
`InterfaceError`, `InternalClientError`, `OSError` and `TimeoutError`.
"""

from __future__ import annotations

from enum import Enum, auto

import asyncpg

from collector.errors import CollectorError, DatabaseRejected, DatabaseUnavailable, SchemaMismatch


class Remedy(Enum):
    """What to do about an error."""

    RECONNECT = auto()  # the connection or the server is gone: the whole transaction again
    AGAIN = auto()  # another transaction was in the way: the whole transaction again
    HALVE = auto()  # the statement took too long: the same in smaller parts
    REJECT = auto()  # the rows are refused: bisect to the ticker that carries them
    SCHEMA = auto()  # table, column or privilege is missing: no part of the batch can succeed
    CONFIGURE = auto()  # password, role or database are wrong: nobody but the operator can help
    UNKNOWN = auto()  # try a little, then treat as refused


STATES = {
    "57014": Remedy.HALVE,  # query_canceled: statement_timeout
    "55P03": Remedy.AGAIN,  # lock_not_available
    "25006": Remedy.RECONNECT,  # read_only_sql_transaction: a standby, or after a failover
    "25P03": Remedy.RECONNECT,  # idle_in_transaction_session_timeout
    "25P04": Remedy.RECONNECT,  # transaction_timeout
    "23505": Remedy.AGAIN,  # unique_violation: another writer stored the ticker first
    "0A000": Remedy.AGAIN,  # "cached plan must not change result type", after a migration
}
CLASSES = {
    "08": Remedy.RECONNECT,  # connection_exception
    "57": Remedy.RECONNECT,  # operator_intervention: shutdown, crash, cannot_connect_now
    "53": Remedy.RECONNECT,  # insufficient_resources: disk full, too many connections
    "40": Remedy.AGAIN,  # deadlock, serialization failure
    "22": Remedy.REJECT,  # data_exception
    "23": Remedy.REJECT,  # integrity_constraint_violation
    "42": Remedy.SCHEMA,  # undefined table or column, wrong type, insufficient privilege
    "3F": Remedy.SCHEMA,  # invalid_schema_name
    "28": Remedy.CONFIGURE,  # invalid_authorization_specification, invalid_password
    "3D": Remedy.CONFIGURE,  # invalid_catalog_name: no such database
}
ENCODING = (ValueError, OverflowError)  # a value that cannot be encoded, before anything is sent
LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
RETRIED = (Remedy.RECONNECT, Remedy.AGAIN)
DATABASE_ERRORS = (asyncpg.PostgresError, *ENCODING, *LOST)


def remedy(error: BaseException) -> Remedy:
    """Sort ``error``, of any type, by what can be done about it."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.PostgresError) and state:
        return STATES.get(state) or CLASSES.get(state[:2], Remedy.UNKNOWN)
    if isinstance(error, ENCODING):
        return Remedy.REJECT
    return Remedy.RECONNECT if isinstance(error, LOST) else Remedy.UNKNOWN


def translated(error: Exception, server: str) -> CollectorError:
    """Return our error for ``error``; ``server`` says which server, without its password."""
    if isinstance(error, CollectorError):
        return error
    kind, text = remedy(error), told(error)
    if kind is Remedy.SCHEMA:
        return _schema(error, text, server)
    if kind in (Remedy.REJECT, Remedy.UNKNOWN):
        return DatabaseRejected(text)
    if getattr(error, "sqlstate", None) == "25006":
        return DatabaseUnavailable(f"PostgreSQL at {server} is read-only: {text}")
    verb = "refused us" if kind is Remedy.CONFIGURE else "does not answer"
    return DatabaseUnavailable(f"PostgreSQL at {server} {verb}: {text}")


def told(error: BaseException) -> str:
    """Return the error in one line: type, SQLSTATE and message. asyncpg's hold no password."""
    state = getattr(error, "sqlstate", None)
    text = " ".join(str(error).split())[:300]
    name = f"{type(error).__name__} {state}" if state else type(error).__name__
    return f"{name}: {text}" if text else name


def _schema(error: Exception, text: str, server: str) -> CollectorError:
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return SchemaMismatch(
            f"the role of the DSN lacks a privilege at {server}: {text}. "
            "GRANT it, or choose a schema of the role's own with postgres.schema"
        )
    return SchemaMismatch(
        f"the tables at {server} are not the ones that this program made: {text}. "
        "Repair them, or choose another schema with postgres.schema"
    )
