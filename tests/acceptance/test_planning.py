"""What a run asks for, over three days: processes with clocks of their own."""

from __future__ import annotations

import pytest

from tests.acceptance.days import DAILY, Step, step
from tests.acceptance.program import World


@pytest.fixture(scope="module")
def story(scene: World) -> dict[str, Step]:
    """Three days of daily runs."""
    told = {
        at: step(scene, f"2025-03-{at}")
        for at in (
            *("05 06:00", "05 06:10", "06 06:00", "06 17:00", "07 05:30", "07 06:00", "07 06:05"),
        )
    }
    return told | {"force": step(scene, "2025-03-07 06:10", *DAILY, "--force")}


def test_the_first_run_asks_once_per_ticker(story: dict[str, Step]) -> None:
    first = story["05 06:00"]
    assert len(first.calls) == 2
    assert first.counts == {"stored": 2}


def test_a_second_run_makes_no_call_and_reports_unchanged(story: dict[str, Step]) -> None:
    again = story["05 06:10"]
    assert again.calls == []
    assert again.counts == {"unchanged": 2}
    assert again.report["api"]["calls"] == 0
    assert again.report["status"] == "ok"


def test_what_is_unchanged_is_published_all_the_same(story: dict[str, Step]) -> None:
    assert story["05 06:10"].report["cache"]["published"] == 4


def test_the_next_session_asks_only_for_the_overlap(story: dict[str, Step]) -> None:
    after = story["06 06:00"]
    assert len(after.calls) == 2
    assert all("2025-02-20" <= day <= "2025-03-03" for day in after.asked_from)
    assert after.report["rows"]["inserted"] == 2
    assert after.report["rows"]["fetched"] <= 2 * 8
    assert after.counts == {"stored": 2}


def test_a_bar_fetched_soon_after_its_close_is_read_again_at_the_next_slot(
    story: dict[str, Step],
) -> None:
    assert story["06 17:00"].report["rows"]["inserted"] == 2
    assert len(story["07 06:00"].calls) == 2


def test_but_not_before_that_slot_and_only_once(story: dict[str, Step]) -> None:
    assert story["07 05:30"].calls == []
    assert story["07 06:05"].calls == []


def test_force_fetches_all_years_whatever_is_stored(story: dict[str, Step]) -> None:
    force = story["force"]
    assert len(force.calls) == 2
    assert all("2022-02-21" < day <= "2022-03-07" for day in force.asked_from)
    assert force.counts == {"unchanged": 2}
    assert force.report["rows"]["fetched"] > 1500
    assert force.report["rows"]["revised"] == 0
