"""What FMP answers where it gives no data, in the order of its checks (FMP.md, section 2)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from collector.simulator.call import Answer, Call
from collector.simulator.layout import quoted
from collector.simulator.plan import Plan

UPGRADE = (
    "is not available under your current subscription please visit our subscription page to"
    " upgrade your plan at https://financialmodelingprep.com/"
)
NO_SUCH_PATH = Answer(404, b"[]")


def error(status: int, message: str) -> Answer:
    """A JSON error: one member, ``Error Message``."""
    return Answer(status, f'{{\n  "Error Message": {quoted(message)}\n}}'.encode())


def plain(status: int, text: str) -> Answer:
    """A plain-text error, which FMP labels as JSON all the same."""
    return Answer(status, text.encode())


BAD_KEY = error(
    401,
    "Invalid API KEY. Feel free to create a Free API Key or visit "
    "https://site.financialmodelingprep.com/faqs?search=why-is-my-api-key-invalid"
    " for more information.",
)
LEGACY_PATH = error(
    403,
    "Legacy Endpoint : Due to Legacy endpoints being no longer supported - This endpoint is only"
    " available for legacy users who have valid subscriptions prior August 31, 2025. Please visit"
    " our documentation page https://site.financialmodelingprep.com/developer/docs for our current"
    " APIs.",
)
LIMIT_REACHED = error(
    429,
    "Limit Reach . Please upgrade your plan or visit our documentation for more details at "
    "https://site.financialmodelingprep.com/",
)
PATH_NOT_IN_PLAN = plain(402, f"Restricted Endpoint: This endpoint {UPGRADE}")
SYMBOL_NOT_IN_PLAN = plain(
    402, f"Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' {UPGRADE}"
)
FROM_NOT_IN_PLAN = plain(
    402, f"Premium Query Parameter: 'Special Endpoint : This value set for 'from' {UPGRADE}"
)


def missing(parameter: str) -> Answer:
    """A required parameter is absent; FMP names one at a time."""
    return plain(400, f"Query Error: Invalid or missing query parameter - {parameter}")


def limit_not_in_plan(highest: int) -> Answer:
    """The parameter ``limit`` is above what the plan allows."""
    return plain(
        402,
        f"Premium Query Parameter: 'Special Parameters : The values for 'limit' must be between"
        f" 0 and {highest} based on your current subscription. Please visit our subscription"
        " page to upgrade your plan at https://financialmodelingprep.com/",
    )


def key_refusal(call: Call, keys: Collection[str] | None) -> Answer | None:
    """Refuse a missing key, or one that is not among ``keys``; this check is the first."""
    accepted = bool(call.key) if keys is None else call.key in keys
    if not accepted:
        return BAD_KEY
    return LEGACY_PATH if call.path.startswith(("api/v3/", "api/v4/")) else None


def plan_refusal(call: Call, plan: Plan) -> Answer | None:
    """Refuse an endpoint that the plan lacks; it comes before the parameters are looked at."""
    return PATH_NOT_IN_PLAN if call.endpoint in plan.refused_paths else None


def parameter_refusal(
    call: Call, required: Collection[str], plan: Plan, today: date
) -> Answer | None:
    """Refuse absent parameters, then values that the plan lacks."""
    for name in required:
        if not call.query.get(name):
            return missing(name)
    if call.symbol and not plan.allows_symbol(call.symbol):
        return SYMBOL_NOT_IN_PLAN
    first, limit = call.day("from"), call.number("limit")
    if first and not plan.allows_from(first, today):
        return FROM_NOT_IN_PLAN
    if (
        call.endpoint == "splits"
        and plan.splits_limit is not None
        and (limit or 0) > plan.splits_limit
    ):
        return limit_not_in_plan(plan.splits_limit)
    return None
