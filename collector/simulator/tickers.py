"""The tickers that the demo covers, and the list that ``stock-list`` gives."""

from __future__ import annotations

from string import ascii_uppercase

COMPANIES = {
    "AAPL": "Apple Inc.",
    "MSFT": "Microsoft Corporation",
    "NVDA": "NVIDIA Corporation",
    "AMZN": "Amazon.com, Inc.",
    "GOOGL": "Alphabet Inc.",
    "META": "Meta Platforms, Inc.",
    "TSLA": "Tesla, Inc.",
    "BRK-B": "Berkshire Hathaway Inc.",
    "JPM": "JPMorgan Chase & Co.",
    "V": "Visa Inc.",
    "JNJ": "Johnson & Johnson",
    "WMT": "Walmart Inc.",
    "PG": "The Procter & Gamble Company",
    "MA": "Mastercard Incorporated",
    "UNH": "UnitedHealth Group Incorporated",
    "HD": "The Home Depot, Inc.",
    "XOM": "Exxon Mobil Corporation",
    "CVX": "Chevron Corporation",
    "KO": "The Coca-Cola Company",
    "PEP": "PepsiCo, Inc.",
    "BAC": "Bank of America Corporation",
    "COST": "Costco Wholesale Corporation",
    "DIS": "The Walt Disney Company",
    "CSCO": "Cisco Systems, Inc.",
    "ADBE": "Adobe Inc.",
    "CRM": "Salesforce, Inc.",
    "NFLX": "Netflix, Inc.",
    "INTC": "Intel Corporation",
    "AMD": "Advanced Micro Devices, Inc.",
    "ORCL": "Oracle Corporation",
    "IBM": "International Business Machines Corporation",
    "QCOM": "QUALCOMM Incorporated",
    "TXN": "Texas Instruments Incorporated",
    "PFE": "Pfizer Inc.",
    "MRK": "Merck & Co., Inc.",
    "ABBV": "AbbVie Inc.",
    "LLY": "Eli Lilly and Company",
    "TMO": "Thermo Fisher Scientific Inc.",
    "NKE": "NIKE, Inc.",
    "MCD": "McDonald's Corporation",
    "SBUX": "Starbucks Corporation",
    "BA": "The Boeing Company",
    "CAT": "Caterpillar Inc.",
    "GE": "General Electric Company",
    "HON": "Honeywell International Inc.",
    "UPS": "United Parcel Service, Inc.",
    "GS": "The Goldman Sachs Group, Inc.",
    "T": "AT&T Inc.",
    "VZ": "Verizon Communications Inc.",
    "F": "Ford Motor Company",
}


def demo_tickers() -> list[str]:
    """Fifty well-known US tickers, AAPL and MSFT first."""
    return list(COMPANIES)


def listed_companies() -> list[tuple[str, str]]:
    """Ticker and name of the whole list: the demo tickers, and ``SIMAA`` to ``SIMZZ``."""
    made_up = [
        (f"SIM{a}{b}", f"Simulated Company {a}{b} Inc.")
        for a in ascii_uppercase
        for b in ascii_uppercase
    ]
    return list(COMPANIES.items()) + made_up
