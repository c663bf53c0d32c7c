"""`collector simulator` beside `collector run`, as its help shows it."""

from __future__ import annotations

import json
import signal
from urllib.request import Request, urlopen

from tests.acceptance.program import World, end

RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT", "--json"]
NOW = "2025-03-05T06:00:00-05:00"


def test_a_run_against_the_simulators_process_with_a_fault_on_order(world: World) -> None:
    process = world.start("simulator", "--now", NOW, "--plan", "premium", "--key", "k")
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().strip()
        rules = [{"symbol": "MSFT", "status": 500, "body": "oops"}]
        with urlopen(  # noqa: S310 - loopback
            Request(f"{base_url}/__script", json.dumps(rules).encode(), method="POST")  # noqa: S310
        ) as answer:
            assert answer.status == 204
        variables = {"FMP_BASE_URL": base_url, "FMP_API_KEY": "k", "COLLECTOR_FMP__ATTEMPTS": "2"}
        world.variables |= {**variables, "COLLECTOR_CLOCK__STARTS_AT": NOW}
        report = world.run(*RUN, code=3).json
        with urlopen(f"{base_url}/__log") as answer:  # noqa: S310
            log = json.load(answer)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        end(process)
    assert report["api"]["calls"] == len(log) == 3
    assert report["api"]["retries"] == 1
    assert [entry["status"] for entry in log].count(500) == 2
    assert [problem["ticker"] for problem in report["problems"]] == ["MSFT"]
