"""The docs are true: every command, table, column, key, outcome and link in them exists."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from collector.cache.keys import price_key, run_key
from collector.cli import parser
from collector.collect.report import Outcome
from collector.errors import Kind
from collector.market.timeframe import Timeframe
from collector.store.migrate import migrations

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
README = (ROOT / "README.md").read_text()
COLUMN = r"^    ([a-z_]+) (?:text|date|double|bool|time|big|int|json|uuid)"
TABLES_AND_KEYS = (ROOT / "docs" / "tables-and-keys.md").read_text()


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command."""
    (choices,) = (a.choices for a in parser()._actions if isinstance(a.choices, dict))
    return choices


def tables() -> list[tuple[str, list[str]]]:
    """Return every table of the migrations with its columns."""
    sql = "\n".join(migrations().values())
    found = []
    for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", sql, re.MULTILINE | re.DOTALL):
        columns = re.findall(COLUMN, body, re.MULTILINE)
        found.append((name, columns))
    return found


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"`collector {name}" in README


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    text = commands()[name].format_help()
    assert f"collector {name}" in text.partition("example:")[2]


def test_the_readme_names_no_command_that_does_not_exist() -> None:
    named = set(re.findall(r"`collector ([a-z]+)", README))
    assert named == set(commands())


@pytest.mark.parametrize(("table", "columns"), tables(), ids=[name for name, _ in tables()])
def test_every_table_and_column_is_in_the_docs(table: str, columns: list[str]) -> None:
    assert len(columns) >= 2
    if table.startswith("collector_"):  # our own book-keeping
        assert f"`{table}`" in TABLES_AND_KEYS
        return
    (row,) = re.findall(rf"^\| `{table}` \|.*$", TABLES_AND_KEYS, re.MULTILINE)
    if table in ("weekly_prices", "hourly_prices"):
        assert "the same" in row
        return
    revised = table == "price_revisions"
    for column in columns:
        assert column in row or (revised and column.startswith(("old_", "new_"))), column


def test_every_key_is_in_the_docs() -> None:
    made = price_key("scanner:", "TICKER", Timeframe.DAY, 7).replace("TICKER:1d:7", "")
    assert f"`{made}{{TICKER}}:{{TIMEFRAME}}:{{LOOKBACK}}`" in TABLES_AND_KEYS
    made = run_key("scanner:", Timeframe.DAY).replace("1d", "{TIMEFRAME}")
    assert f"`{made}`" in TABLES_AND_KEYS


@pytest.mark.parametrize("word", [*Outcome, *Kind])
def test_every_outcome_and_kind_is_in_the_docs(word: str) -> None:
    assert re.search(rf"\b{word}\b", TABLES_AND_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_docs_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (ROOT / "docs" / "decisions" / name).read_text()
        assert text.startswith(f"# {int(name[:4])}. ")
        assert all(
            part in text
            for part in ("Status:", "**Context.**", "**Decision.**", "**Consequences.**")
        )
