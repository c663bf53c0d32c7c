"""What may be said, section by section. All of it is frozen, strict and has a default.

The ``description`` of a field is what is allowed: an error prints it after ``must be``.
What a setting means stands in ``config.toml`` and ``docs/configuration.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from collector.settings import kinds


def _whole(low: int, high: int, unit: str = "") -> object:
    text = f"a whole number{unit} from {low} to {high}"
    return Field(ge=low, le=high, description=text)


def _seconds(high: int) -> object:
    return Field(gt=0, le=high, description=f"a number of seconds above 0, at most {high}")


Switch = Annotated[bool, Field(description="true or false")]
Address = Annotated[kinds.Listen, Field(description="an address such as 127.0.0.1:9108")]


class Section(BaseModel):
    """A table of ``config.toml``."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_default=True,
    )


class Fmp(Section):
    """The API and how much of it to use."""

    api_key: Annotated[kinds.Key | None, Field(description="the key that FMP gave you")] = None
    base_url: Annotated[
        kinds.BaseUrl, Field(description="an https:// address (http:// for a loopback host)")
    ] = "https://financialmodelingprep.com/stable"
    requests_per_minute: Annotated[
        Annotated[int, Field(ge=1, le=60_000)] | None,
        kinds.OrNone,
        Field(description='a whole number from 1 to 60000, or "none"'),
    ] = 300
    concurrency: Annotated[int, _whole(1, 200)] = 32
    history_years: Annotated[int, _whole(1, 60)] = 11
    overlap_sessions: Annotated[int, _whole(1, 250)] = 5
    bulk: Annotated[Literal["auto", "off"], Field(description='"auto" or "off"')] = "auto"
    bandwidth_gb: Annotated[
        Annotated[float, Field(gt=0, le=1_000_000)] | None,
        kinds.OrNone,
        Field(description='a number of gigabytes above 0, or "none"'),
    ] = None
    timeout_s: Annotated[float, _seconds(600)] = 30.0
    attempts: Annotated[int, _whole(1, 10)] = 4
    max_body_mb: Annotated[int, _whole(1, 1024)] = 16

    @property
    def is_loopback(self) -> bool:
        """Whether the API is a server on this machine: the simulator, not FMP."""
        return kinds.is_loopback(urlsplit(self.base_url).hostname or "")


class Postgres(Section):
    """The database. Without a DSN the commands of a person start one of their own."""

    dsn: Annotated[
        kinds.Dsn | None,
        Field(description="a URL such as postgresql://user@host:5432/name"),
    ] = None
    schema_name: Annotated[
        kinds.SchemaName,
        Field(alias="schema", description="the name of a schema, lower-case"),
    ] = "public"
    pool_size: Annotated[int, _whole(1, 100)] = 4
    timeout_s: Annotated[float, _seconds(600)] = 30.0
    outage_s: Annotated[float, _seconds(3600)] = 60.0


class Redis(Section):
    """The cache's server. Without a URL the commands of a person start one of their own."""

    url: Annotated[
        kinds.RedisUrl | None, Field(description="a URL such as redis://host:6379/0")
    ] = None
    timeout_s: Annotated[float, _seconds(60)] = 1.0
    pool_size: Annotated[int, _whole(1, 100)] = 8


class Cache(Section):
    """What is published for readers."""

    enabled: Switch = True
    lookback: Annotated[int, _whole(1, 5000)] = 500
    ttl_s: Annotated[
        kinds.Ttl,
        Field(
            description='a table with "1h", "1d" and "1wk", each a whole number of seconds '
            "from 1 to 2592000"
        ),
    ] = {"1h": 300, "1d": 3600, "1wk": 7200}
    key_prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
            description="1 to 64 letters, digits or any of _ . : -",
        ),
    ] = "scanner:"
    publish: Annotated[
        Literal["together", "as_stored"], Field(description='"together" or "as_stored"')
    ] = "together"


class Universe(Section):
    """Tickers that the universe starts with."""

    tickers: Annotated[
        kinds.Tickers, Field(description='a list of tickers such as ["AAPL", "BRK-B"]')
    ] = ()


class Schedule(Section):
    """When the daemon runs. Whether the calendar exists is seen when it is first opened."""

    exchange: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_/]{1,19}$",
            description="the code of an exchange calendar such as XNYS",
        ),
    ] = "XNYS"
    timezone: Annotated[kinds.Zone, Field(description="a time zone such as America/New_York")] = (
        "America/New_York"
    )
    daily_at: Annotated[
        kinds.Times, Field(description='a list of different times such as ["06:00"]')
    ] = ("06:00",)
    hourly: Switch = True
    hourly_delay_s: Annotated[int, _whole(0, 3000, " of seconds")] = 300
    weekly: Switch = True
    weekly_delay_s: Annotated[int, _whole(0, 86_400, " of seconds")] = 900


class Daemon(Section):
    """Where the daemon answers."""

    listen: Address = "127.0.0.1:9108"


class Web(Section):
    """Where the scanner page answers."""

    listen: Address = "127.0.0.1:8080"


class Log(Section):
    """What is said on stderr, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        kinds.Lower,
        Field(description='"debug", "info", "warning" or "error"'),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"], Field(description='"auto", "text" or "json"')
    ] = "auto"
    per_ticker: Switch = True


class Engines(Section):
    """The embedded PostgreSQL and Redis."""

    data_dir: Annotated[
        str | None,
        Field(pattern=r"^[^\x00-\x1f]{1,1024}$", description="a path of up to 1024 characters"),
    ] = None


class Clock(Section):
    """The time that this process lives in."""

    starts_at: Annotated[
        kinds.Instant | None,
        Field(description='an instant with its offset such as "2018-02-08T06:00:00-05:00"'),
    ] = None


class Settings(BaseSettings):
    """Everything that was said. ``notes`` are facts about it that are worth saying, but no errors.

    ``Settings()`` is the defaults, and reads nothing: `collector.settings.load` reads.
    """

    model_config = SettingsConfigDict(
        frozen=True, strict=True, extra="forbid", hide_input_in_errors=True
    )

    fmp: Fmp = Fmp()
    postgres: Postgres = Postgres()
    redis: Redis = Redis()
    cache: Cache = Cache()
    universe: Universe = Universe()
    schedule: Schedule = Schedule()
    daemon: Daemon = Daemon()
    web: Web = Web()
    log: Log = Log()
    engines: Engines = Engines()
    clock: Clock = Clock()
    notes: tuple[str, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the name is part of the interface
        init_settings: PydanticBaseSettingsSource,
        *_stock: PydanticBaseSettingsSource,
        **_named_stock: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the stock sources: they pass over unknown names in silence."""
        return (init_settings,)


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


SECTIONS: dict[str, type[Section]] = dict(_sections())

FIELDS: dict[str, FieldInfo] = {
    f"{section}.{field.alias or name}": field
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
}
"""Every setting by its key, such as ``fmp.api_key``."""


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the key and the reason of settings that are good alone but not together."""
    if settings.fmp.is_loopback:
        return
    if settings.fmp.requests_per_minute is None:
        yield "fmp.requests_per_minute", '"none" is only for an fmp.base_url on a loopback host'
    if settings.clock.starts_at is not None:
        yield "clock.starts_at", "is only for an fmp.base_url on a loopback host: it replays"


def secrets(settings: Settings) -> tuple[str, ...]:
    """Return every text that no output may hold: the key, the URLs and the passwords in them."""
    given: tuple[SecretStr | None, ...] = (
        settings.fmp.api_key,
        settings.postgres.dsn,
        settings.redis.url,
    )
    texts = [secret.get_secret_value() for secret in given if secret is not None]
    passwords = [password for text in texts if (password := _password(text))]
    return tuple(dict.fromkeys([*texts, *passwords, *map(unquote, passwords)]))


def _password(text: str) -> str | None:
    try:
        return urlsplit(text).password
    except ValueError:  # a key may look like a broken URL
        return None
