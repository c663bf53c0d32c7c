"""Worlds for the acceptance tests: one for a module's scenario, one for a single test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import World, bare, world_of
from tests.servers import PostgresServer, RedisServer


@pytest.fixture
def world(
    tmp_path: Path, postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[World]:
    """Lend a world of this test alone."""
    with world_of(tmp_path / "world", postgres_server, redis_server, number=2) as found:
        yield found


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[World]:
    """Lend a world that the tests of a module share."""
    with world_of(tmp_path_factory.mktemp("scene"), postgres_server, redis_server) as found:
        yield found


@pytest.fixture
def engines_home() -> Iterator[str]:
    """Lend a directory for engines that every user can reach: as root they run as another."""
    home = Path(tempfile.mkdtemp(prefix="ct-"))
    home.chmod(0o755)
    yield str(home)
    shutil.rmtree(home)


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., World]:
    """Make a world without servers: the variables given are its whole environment."""
    return lambda **variables: bare(tmp_path / "alone", **variables)
