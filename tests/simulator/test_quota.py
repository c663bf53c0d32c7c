"""The window slides: no sixty seconds hold more calls than the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.simulator.quota import SlidingWindow

GAPS = st.lists(st.floats(0, 30), min_size=1, max_size=80)


def arrivals(gaps: list[float]) -> list[float]:
    """Return the instants at which calls arrive, from the gaps between them."""
    return [sum(gaps[: count + 1]) for count in range(len(gaps))]


@given(GAPS, st.integers(1, 10))
def test_no_window_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    window = SlidingWindow(limit, 60.0)
    admitted = [at for at in arrivals(gaps) if window.admit(at)]
    for end in admitted:
        assert sum(end - 60.0 < at <= end for at in admitted) <= limit


@given(GAPS, st.integers(1, 10))
def test_call_is_refused_only_when_the_window_is_full(gaps: list[float], limit: int) -> None:
    window = SlidingWindow(limit, 60.0)
    admitted: list[float] = []
    for at in arrivals(gaps):
        held = sum(at - 60.0 < earlier for earlier in admitted)
        assert window.admit(at) is (held < limit)
        if held < limit:
            admitted.append(at)


def test_burst_across_a_minute_boundary_is_caught() -> None:
    window = SlidingWindow(300, 60.0)
    before = sum(window.admit(59.0) for _ in range(300))
    after = sum(window.admit(61.0) for _ in range(300))
    assert (before, after) == (300, 0)
    assert window.admit(119.0)


def test_call_leaves_the_window_after_exactly_its_length() -> None:
    window = SlidingWindow(1, 60.0)
    assert [window.admit(at) for at in (0.0, 59.999, 60.0)] == [True, False, True]
