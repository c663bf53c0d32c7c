"""The breaker: two failures in a row open it for ten seconds, then one probe decides."""

from __future__ import annotations

from collector.cache.breaker import Breaker


def test_one_failure_between_successes_opens_nothing() -> None:
    breaker = Breaker()
    for at in range(10):
        breaker.failed(at)
        assert breaker.allows(at)
        breaker.succeeded()
    assert not breaker.is_open


def test_two_failures_in_a_row_open_it_for_ten_seconds() -> None:
    breaker = Breaker()
    breaker.failed(100.0)
    breaker.failed(101.0)
    assert breaker.is_open
    assert not breaker.allows(101.0)
    assert not breaker.allows(110.9)
    assert breaker.allows(111.0)


def test_one_probe_goes_and_the_others_wait() -> None:
    breaker = Breaker(failures=1)
    breaker.failed(0.0)
    assert [breaker.allows(10.0) for _ in range(3)] == [True, False, False]
    breaker.failed(11.0)
    assert not breaker.allows(20.9)
    assert breaker.allows(21.0)
    breaker.succeeded()
    assert all(breaker.allows(21.0) for _ in range(3))


def test_a_lost_probe_is_followed_by_another() -> None:
    breaker = Breaker(failures=1)
    breaker.failed(0.0)
    assert breaker.allows(10.0)
    assert breaker.allows(20.0)


def test_disabled_it_waits_for_a_person_and_not_for_time() -> None:
    breaker = Breaker()
    breaker.disable("wrong password")
    assert not breaker.allows(1e9)
    breaker.succeeded()
    assert not breaker.allows(1e9)
    breaker.enable()
    assert breaker.allows(1e9)
