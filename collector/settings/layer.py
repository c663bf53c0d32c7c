"""A layer: what one source said, by key, and how pydantic-settings gets it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from collector.settings.model import Settings
from collector.settings.names import SECRET_KEYS


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it was said."""

    value: object = field(repr=False)
    origin: str


@dataclass(slots=True)
class Layer:
    """What one source said, what is wrong with it, and what is worth saying of it."""

    given: dict[str, Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def escaped(text: str, most: int = 80) -> str:
    """Return a foreign name for a message: printable, on one line, cut."""
    return re.sub(r"[^ -~]", lambda match: ascii(match[0])[1:-1], text)[:most]


class LayerSource(PydanticBaseSettingsSource):
    """Hands a layer to pydantic-settings; a setting that an earlier layer gave is left out whole.

    Without that a table of a later layer would shine through the gaps of an earlier one. Secrets
    go in wrapped: with ``PYDANTIC_SETTINGS_DEBUG`` the library logs what its sources return.
    """

    def __init__(self, given: dict[str, Given]) -> None:
        super().__init__(Settings)
        self._given = given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Part of the interface, and not used: `__call__` gives everything at once."""
        raise NotImplementedError

    def __call__(self) -> dict[str, object]:
        """Return ``{section: {name: value}}``."""
        sections: dict[str, dict[str, object]] = {}
        for key, given in self._given.items():
            section, _, name = key.partition(".")
            if name in self.current_state.get(section, {}):
                continue
            sections.setdefault(section, {})[name] = _wrapped(key, given.value)
        return dict(sections)


def _wrapped(key: str, value: object) -> object:
    return SecretStr(value) if key in SECRET_KEYS and isinstance(value, str) else value
