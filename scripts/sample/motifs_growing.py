"""Motifs of nature: planets, a garden and clouds."""

import math
import random

from scripts.sample.ink import (
    HEIGHT,
    WIDTH,
    Ink,
    Scene,
    circle,
    dots,
    ellipse,
    line,
    path,
    polygon,
    rect,
    ridge,
    ring,
    shape,
)


def planets(rng: random.Random, ink: Ink) -> Scene:
    """Night sky, orbits, a ringed planet and its moons."""
    stars = [(rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)) for _ in range(44)]
    shapes = [dots(stars[:30], "#fff", 1.5), dots(stars[30:], "#fff", 2.8)]
    x, y, size = rng.uniform(100, 220), rng.uniform(80, 120), rng.uniform(32, 48)
    tilt = f'transform="rotate({rng.uniform(-28, 28):.0f} {x:.0f} {y:.0f})"'
    hue = rng.uniform(60, 240)
    for k in (1, 2):
        far = size * (2.1 + 0.9 * k)
        shapes.append(ellipse(x, y, far, far * 0.36, "none", f'stroke="#fff" opacity=".3" {tilt}'))
        angle = rng.uniform(0, math.tau)
        shapes.append(
            circle(
                x + far * 0.8 * math.cos(angle),
                y + far * 0.4 * math.sin(angle),
                5 + 3 * k,
                ink.tone(hue * k + 80, 70, 66),
            )
        )
    shapes += [
        circle(x, y, size * 1.35, ink.tone(hue, 70, 60), 'opacity=".16"'),
        circle(x, y, size, ink.tone(hue, 62, 62)),
    ]
    for band in (-0.35, 0.05, 0.4):
        half = size * math.sqrt(1 - band * band) - 3
        shapes.append(
            line(
                [(x - half, y + size * band), (x + half, y + size * band)],
                ink.tone(hue + 18, 55, 50),
                5,
                f'opacity=".7" {tilt}',
            )
        )
    if rng.random() < 0.7:
        bow = f"M{x - 0.9 * size:.1f} {y - 5:.1f}c{-1.9 * size:.0f} 27 {3.7 * size:.0f} 27 {1.8 * size:.1f} 0"
        shapes.append(path(bow, ink.tone(hue + 40, 60, 82), 5, f'opacity=".9" {tilt}'))
    return ink.tone(0, 55, 13), ink.tone(25, 48, 26 + 10 * ink.mood), shapes


def garden(rng: random.Random, ink: Ink) -> Scene:
    """Stems with leaves and flowers out of dark soil."""
    shapes = [
        circle(rng.uniform(50, 270), 48, 26, ink.tone(-42, 90, 82)),
        polygon(ridge(rng, 122, 10, 6), ink.tone(0, 36, 66)),
    ]
    for slot in range(5):
        x, top, lean = 34 + 63 * slot + rng.uniform(-12, 12), rng.uniform(52, 104), rng.uniform(-16, 16)
        green = ink.tone(rng.uniform(0, 45), 48, rng.uniform(28, 40))
        shapes.append(path(f"M{x:.0f} 182Q{x:.0f} {top + 50:.0f} {x + lean:.0f} {top:.0f}", green, 4))
        for k in (0.35, 0.62):
            ly = 182 - (182 - top) * k
            foot = f"M{x + lean * k * k:.0f} {ly:.0f}"
            shapes.append(shape(f"{foot}q12 -20 30 -15q-8 18 -30 15{foot}q-12 -20 -30 -15q8 18 30 15", green))
        petal = ink.tone(rng.choice((-95, -60, 180, 235, 265)), 76, 64)
        shapes += _flower(x + lean, top, rng.uniform(7, 11), petal, rng.choice((5, 6)))
    shapes += [polygon(ridge(rng, 180, 4, 8), ink.tone(-68, 34, 24))]
    return ink.tone(100 - 60 * ink.mood, 56, 82), ink.tone(-20, 60, 88), shapes


def _flower(x: float, y: float, size: float, petal: str, petals: int) -> list[str]:
    turns = [math.tau * k / petals for k in range(petals)]
    around = [(x + size * math.cos(a), y + size * math.sin(a)) for a in turns]
    return [dots(around, petal, size * 1.36), circle(x, y, size * 0.62, "#f7c948")]


def clouds(rng: random.Random, ink: Ink) -> Scene:
    """A sun behind clouds that bring rain, snow or a flash."""
    mood = rng.randrange(4)  # fair, rain, snow, thunder
    light = (72, 54, 74, 34)[mood]
    shapes = (
        [circle(rng.uniform(80, 240), 62, 32, "#ffd75e"), ring(160, 62, 90, "#fff", 26, 'opacity=".08"')]
        if mood != 3
        else []
    )
    for _ in range(3):
        x, y = rng.uniform(40, 280), rng.uniform(50, 104)
        shade = ink.tone(0, 22, light + rng.uniform(8, 22))
        puffs = ((-38, 6, 20), (-12, -9, 28), (20, -4, 24), (44, 8, 17))
        shapes += [circle(x + dx, y + dy, r, shade) for dx, dy, r in puffs]
        shapes.append(rect(x - 57, y + 4, 117, 22, shade, 'rx="11"'))
    drops = [(rng.uniform(20, 300), rng.uniform(128, 188)) for _ in range(22)] if mood in (1, 2) else []
    if mood == 1:
        shapes.append(path("".join(f"M{x:.0f} {y:.0f}l-5 13" for x, y in drops), ink.tone(0, 80, 86), 2.4))
    if mood == 2:
        shapes += [dots(drops[:12], "#fff", 7), dots(drops[12:], "#fff", 4.5)]
    if mood == 3:
        x = rng.uniform(110, 200)
        shapes.append(shape(f"M{x:.0f} 108l-24 42h18l-12 38 40-52h-20l16-28z", "#ffe066"))
    shapes.append(
        polygon(ridge(rng, 184, 7, 5), ink.tone(-70 if mood != 2 else 0, 24, 30 if mood != 2 else 92))
    )
    return ink.tone(0, 52, light - 14), ink.tone(-12, 52, light + 12), shapes
