"""Titles from a small grammar: a pattern by category and kind, slots filled with that category's words."""

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 60
GRAMMAR = Path(__file__).with_name("grammar.toml")


@dataclass(frozen=True)
class Category:
    """One category of the sample catalogue; ``share`` of all items, ``timely_share`` of its own."""

    name: str
    share: float
    timely_share: float
    patterns: dict[str, list[str]]
    words: dict[str, list[str]]


def load_categories(path: Path = GRAMMAR) -> list[Category]:
    """The categories of the grammar file, in its order."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    common = tables.pop("common")
    return [_category(name, common | table) for name, table in tables.items()]


def _category(name: str, table: dict[str, object]) -> Category:
    lists = {key: [str(word) for word in value] for key, value in table.items() if isinstance(value, list)}
    patterns = {kind: lists.pop(kind) for kind in ("timely", "evergreen")}
    return Category(name, float(str(table["share"])), float(str(table["timely_share"])), patterns, lists)


class TitleMaker:
    """Writes titles that do not repeat within one catalogue."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def write(self, category: Category, kind: str) -> str:
        """A new title; once the grammar is used up for this category, one with a part number."""
        for _ in range(_TRIES):
            title = self._compose(category, kind)
            if title not in self._used:
                break
        base, part = title, 1
        while title in self._used:
            part += 1
            title = f"{base}, part {part}"
        self._used.add(title)
        return title

    def _compose(self, category: Category, kind: str) -> str:
        pattern = self._rng.choice(category.patterns[kind])
        text = _SLOT.sub(lambda slot: self._rng.choice(category.words[slot.group(1)]), pattern)
        return text[0].upper() + text[1:]
