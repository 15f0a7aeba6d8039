"""Draws a picture for a category and a seed: a small SVG of layered shapes, the same for the same seed."""

import random

from scripts.sample import motifs_growing, motifs_inside, motifs_outside, motifs_signs
from scripts.sample.ink import HEIGHT, WIDTH, Ink, Motif, rect

MOTIFS: dict[str, tuple[Motif, int]] = {  # category → its motif and the hue of its world, in degrees
    "local": (motifs_outside.town, 232),
    "sport": (motifs_outside.pitch, 138),
    "cooking": (motifs_inside.plate, 26),
    "technology": (motifs_signs.circuit, 205),
    "travel": (motifs_outside.mountains, 190),
    "business": (motifs_signs.chart, 168),
    "culture": (motifs_inside.stage, 350),
    "health": (motifs_signs.pulse, 330),
    "science": (motifs_growing.planets, 258),
    "gardening": (motifs_growing.garden, 95),
    "weather": (motifs_growing.clouds, 212),
    "home": (motifs_inside.room, 38),
    "music": (motifs_signs.record, 285),
    "history": (motifs_outside.arches, 18),
}


def draw(category: str, seed: str) -> str:
    """The SVG text of a scene; under 3,000 bytes.

    Raises:
        KeyError: a category without a motif.
    """
    motif, hue = MOTIFS[category]
    rng = random.Random(seed)
    ink = Ink((hue + rng.gauss(0, 14)) % 360, rng.random())
    top, bottom, shapes = motif(rng, ink)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'preserveAspectRatio="xMidYMid slice" stroke-linecap="round" stroke-linejoin="round">'
        f'<linearGradient id="g" x2="0" y2="1"><stop stop-color="{top}"/>'
        f'<stop offset="1" stop-color="{bottom}"/></linearGradient>'
        f"{rect(0, 0, WIDTH, HEIGHT, 'url(#g)')}{''.join(shapes)}</svg>\n"
    )
