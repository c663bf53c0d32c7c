"""The key is nowhere: not on a stream, not in a table, not in Redis."""

from __future__ import annotations

from pathlib import Path

from collector.simulator.script import Rule
from tests.acceptance.program import MORNING, World

CANARY = "CANARY7f3e9d1b"
PASSWORD = "CANARYpw55"  # noqa: S105 - the server trusts everybody
RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT,KO,PEP,ZZZZ1", "--json"]
TEXTS = """
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
"""


def dumped(world: World) -> str:
    """Every value of every table as text."""
    found = []
    for table in {row["table_name"] for row in world.rows(TEXTS)}:
        if not table.endswith("_prices"):
            found += [str(row) for row in world.rows(f"SELECT t::text FROM {table} AS t")]  # noqa: S608
    return "\n".join(found)


def in_redis(world: World) -> bytes:
    """Every key and value of Redis."""
    with world.redis() as client:
        return b"\n".join(key + client.get(key) for key in client.scan_iter())


def test_the_key_and_the_password_are_nowhere(world: World) -> None:
    assert world.server is not None
    echo = f"no such thing: /stable/x?symbol=KO&apikey={CANARY}"
    world.server.script(
        Rule(symbol="KO", status=400, body=echo),
        Rule(symbol="PEP", body=f'{{"Error Message": "{CANARY} is not allowed"}}'),
        Rule(symbol="MSFT", call=1, status=500, body=f"<html>{CANARY}</html>"),
    )
    dsn = world.dsn.replace("postgres@", f"postgres:{PASSWORD}@")
    world.variables |= {"FMP_API_KEY": CANARY, "COLLECTOR_LOG__LEVEL": "debug", "DATABASE_URL": dsn}
    done = world.run(*RUN, at=MORNING, code=None)
    assert done.json["tickers"]["stored"] >= 1
    wrong = f"postgresql://u:{PASSWORD}@127.0.0.1/x?bad={PASSWORD}"
    refused = world.run(*RUN, code=2, DATABASE_URL=wrong, FMP_BASE_URL=f"ftp://{CANARY}@x/")
    told = "".join([done.out, done.err, refused.out, refused.err, dumped(world)])
    assert "KO" in dumped(world)
    for canary in (CANARY, PASSWORD):
        assert canary not in told
        assert canary.encode() not in in_redis(world)


def test_a_key_of_a_file_reaches_the_server_and_nothing_else(world: World) -> None:
    assert world.server is not None
    path = Path(world.home / "key")
    path.write_text(f"{CANARY}\n")
    done = world.run(*RUN[:4], "AAPL", without=["FMP_API_KEY"], at=MORNING,
                     FMP_API_KEY_FILE=str(path), COLLECTOR_LOG__LEVEL="debug")  # fmt: skip
    assert CANARY not in done.out + done.err
    assert [entry.status for entry in world.calls()] == [200]
