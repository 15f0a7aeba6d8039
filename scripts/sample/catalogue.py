"""Writes a seeded sample catalogue as NDJSON, and draws its pictures.

python scripts/sample/catalogue.py --items 2400 --seed 7 --pictures run/demo/pictures --out items.ndjson
"""

import argparse
import math
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import orjson

from scripts.sample import ndjson
from scripts.sample.clock import DAY, iso, parse_now
from scripts.sample.hidden import quality
from scripts.sample.pictures import draw
from scripts.sample.titles import Category, TitleMaker, load_categories

SPAN_DAYS = 90
SCENES = 120  # pictures a category at most: beyond that they are shared
TIMELY_SKEW = 1.3  # age = span · u^skew: above 1, recent days are denser
EXPIRING = 0.4  # share of timely items that carry an end
HIDDEN = 0.005

Item = dict[str, Any]


def plan(categories: list[Category], items: int, rng: random.Random) -> list[tuple[Category, str, float]]:
    """(category, kind, age in days) of each item, oldest first.

    Ages are stratified (one draw in each of n equal slices of probability), so that each catalogue of a size
    has the same number of items in its last day, whatever the seed.
    """
    chosen = rng.choices(categories, [c.share for c in categories], k=items)
    kinds = ["timely" if rng.random() < c.timely_share else "evergreen" for c in chosen]
    ages = {
        kind: _ages(kinds.count(kind), skew, rng)
        for kind, skew in (("timely", TIMELY_SKEW), ("evergreen", 1.0))
    }
    made = [(category, kind, ages[kind].pop()) for category, kind in zip(chosen, kinds, strict=True)]
    return sorted(made, key=lambda row: -row[2])


def _ages(count: int, skew: float, rng: random.Random) -> list[float]:
    ages = [SPAN_DAYS * ((slot + rng.random()) / count) ** skew for slot in range(count)]
    rng.shuffle(ages)
    return ages


def make_items(count: int, seed: int, now: int) -> list[Item]:
    """The records of the catalogue, oldest first, ids ``a1`` to ``a<count>``; ``now`` in Unix seconds."""
    rng = random.Random(f"catalogue:{seed}")
    titles = TitleMaker(rng)
    drawn: dict[str, int] = {}
    rows = plan(load_categories(), count, rng)
    return [_item(f"a{number}", row, titles, drawn, rng, (seed, now)) for number, row in enumerate(rows, 1)]


def _item(
    item_id: str,
    row: tuple[Category, str, float],
    titles: TitleMaker,
    drawn: dict[str, int],
    rng: random.Random,
    made_by: tuple[int, int],
) -> Item:
    (category, kind, age), (seed, now) = row, made_by
    scene = drawn[category.name] = drawn.get(category.name, 0) % SCENES + 1
    posted = now - 1 - int(age * DAY)
    ends = posted + int(rng.uniform(2, 30) * DAY) if kind == "timely" and rng.random() < EXPIRING else None
    return {
        "id": item_id,
        "category": category.name,
        "kind": kind,
        "posted_at": iso(posted),
        "social": _social(quality(seed, item_id), age, rng),
        "expires_at": iso(ends) if ends else None,
        "hidden": rng.random() < HIDDEN,
        "data": {
            "title": titles.write(category, kind),
            "url": f"/demo/item/{item_id}",
            "image": f"/demo/pictures/{category.name}-{scene:03d}.svg",
        },
    }


def _social(item_quality: float, age_days: float, rng: random.Random) -> int:
    """A log-normal count that grows with quality and over the first three days."""
    level = 1.6 + 1.0 * item_quality + rng.gauss(0, 1.1)
    return int(math.exp(level) * min(1.0, age_days / 3))


def write_pictures(items: list[Item], folder: Path, seed: int) -> int:
    """Draws every picture that the items name into ``folder``; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({item["data"]["image"].rsplit("/", 1)[1] for item in items})
    for name in names:
        (folder / name).write_text(draw(name.rsplit("-", 1)[0], f"{seed}:{name}"), encoding="utf-8")
    return len(names)


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when done, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(description="Write a seeded sample catalogue with drawn pictures.")
    parser.add_argument("--items", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--now", help="the time of the catalogue, e.g. 2026-11-21T10:00:00Z (default: now)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the pictures into this folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the NDJSON file to write")
    options = parser.parse_args(arguments)
    try:
        now = parse_now(options.now)
    except ValueError as error:
        parser.error(f"--now: {error}")
    if options.items < 1:
        parser.error("--items: at least 1")
    items = make_items(options.items, options.seed, now)
    ndjson.save(options.out, items)
    pictures = write_pictures(items, options.pictures, options.seed) if options.pictures else 0
    print(orjson.dumps({"items": len(items), "pictures": pictures}).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
