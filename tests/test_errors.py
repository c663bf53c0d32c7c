"""The tree of errors: what each asks of its caller."""

from __future__ import annotations

import pytest

from collector import errors
from collector.errors import CollectorError, Failed, FetchError, Kind, Refused, Throttled, Transient


@pytest.mark.parametrize(
    ("error", "code"),
    [("UsageError", 2), ("SchemaMismatch", 6), ("LockHeld", 75), ("DatabaseUnavailable", 4)],
)
def test_an_error_that_stops_the_program_has_the_exit_code_of_the_contract(
    error: str, code: int
) -> None:
    assert getattr(errors, error)("why").exit_code == code


@pytest.mark.parametrize("sort", [Transient, Refused, Failed])
def test_a_failed_call_says_what_the_report_says_of_the_ticker(sort: type[FetchError]) -> None:
    failure = sort(Kind.SERVER, "it was down")
    assert isinstance(failure, CollectorError)
    assert (failure.kind, str(failure)) == ("server", "it was down")


def test_a_throttled_call_carries_the_server_s_wish() -> None:
    assert (Throttled("slow").kind, Throttled("slow").retry_after_s) == (Kind.RATE_LIMITED, None)
    assert Throttled("slow", 1.5).retry_after_s == 1.5


def test_the_kinds_are_those_of_the_contract() -> None:
    assert " ".join(sorted(Kind)) == (
        "auth bad_body bad_rows cancelled db_rejected db_unavailable mismatch network not_found"
        " plan quota rate_limited schema server timeout tls too_large"
    )
