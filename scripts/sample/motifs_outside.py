"""Motifs at ground level: a town, a pitch, mountains and arches."""

import math
import random

from scripts.sample.ink import (
    HEIGHT,
    WIDTH,
    Ink,
    Scene,
    circle,
    ellipse,
    line,
    path,
    polygon,
    rect,
    ridge,
    shape,
)


def town(rng: random.Random, ink: Ink) -> Scene:
    """Houses at dusk with lit windows under a low moon."""
    glow = ink.tone(160 + 20 * ink.mood, 80, 76)
    shapes = [circle(rng.uniform(40, 280), rng.uniform(28, 70), rng.uniform(14, 26), glow, 'opacity=".9"')]
    shapes += [
        rect(x, rng.uniform(70, 115), rng.uniform(20, 34), 130, ink.tone(8, 32, 45))
        for x in range(-6, 320, 29)
    ]
    x = -10.0
    while x < WIDTH:
        width, top = rng.uniform(34, 58), rng.uniform(105, 140)
        wall = ink.tone(rng.uniform(-25, 25), 36, rng.uniform(20, 29))
        if rng.random() < 0.65:
            roof = ink.tone(rng.uniform(110, 140), 45, 34)
            shapes.append(
                polygon(
                    [(x - 3, top), (x + width / 2, top - rng.uniform(16, 28)), (x + width + 3, top)], roof
                )
            )
        shapes.append(rect(x, top, width, HEIGHT - top, wall))
        lit = [(c, r) for c in range(2) for r in range(2) if rng.random() < 0.7]
        panes = (f"M{x + width * (0.2 + 0.38 * c):.0f} {top + 13 + 25 * r:.0f}h8v12h-8z" for c, r in lit)
        shapes.append(shape("".join(panes), glow))
        x += width
    return ink.tone(-25 * ink.mood, 45, 26 + 24 * ink.mood), ink.tone(70 + 80 * ink.mood, 62, 70), shapes


def pitch(rng: random.Random, ink: Ink) -> Scene:
    """A striped field in perspective, chalk lines and a ball in flight."""
    shapes = [ellipse(160, 62, 220, 34, ink.tone(70, 30, 42)), rect(0, 64, WIDTH, 136, ink.tone(0, 48, 40))]
    vanish = rng.uniform(60, 260)
    for stripe in range(-4, 9, 2):
        feet = [160 + (stripe + k - 2.5) * 62 for k in (0, 1)]
        heads = [vanish + (foot - vanish) * 0.3 for foot in feet]
        shapes.append(
            polygon([(heads[0], 64), (heads[1], 64), (feet[1], 200), (feet[0], 200)], ink.tone(4, 46, 46))
        )
    chalk = 'opacity=".85"'
    shapes += [
        line([(0, 64), (WIDTH, 64)], "#fff", 2, chalk),
        path(f"M{vanish:.0f} 64L160 200", "#fff", 3, chalk),
    ]
    shapes.append(ellipse(160, 138, 78, 27, "none", f'stroke="#fff" stroke-width="3" {chalk}'))
    x, y, size = rng.uniform(70, 250), rng.uniform(52, 118), rng.uniform(22, 34)
    side = 1 if x < 160 else -1
    for k in range(3):
        far = side * (54 - 9 * k)
        trail = f"M{x + side * (size + 8):.0f} {y - 10 + 10 * k:.0f}q{side * 34} -5 {far} {10 + 3 * k}"
        shapes.append(path(trail, "#fff", 4, 'opacity=".55"'))
    shapes += [ellipse(x, 182, size * 0.9, 6, "#000", 'opacity=".25"'), *_ball(rng, ink, x, y, size)]
    return ink.tone(70, 62, 62 + 14 * ink.mood), ink.tone(50, 60, 84), shapes


def _ball(rng: random.Random, ink: Ink, x: float, y: float, size: float) -> list[str]:
    kind = rng.randrange(3)
    if kind == 0:
        turn = rng.uniform(0, 1.2)
        around = [turn + math.tau * k / 5 for k in range(5)]
        inner = [(x + size * 0.38 * math.cos(a), y + size * 0.38 * math.sin(a)) for a in around]
        seams = [
            line([p, (x + size * 0.92 * math.cos(a), y + size * 0.92 * math.sin(a))], "#333", 2)
            for p, a in zip(inner, around, strict=True)
        ]
        return [circle(x, y, size, "#fafafa"), *seams, polygon(inner, "#333")]
    skin = "#d9e64a" if kind == 1 else "#e8833a"
    dark = "#fff" if kind == 1 else "#5b2a12"
    out, down = size * 0.7, size * 1.4
    curves = "".join(
        f"M{x + s * out:.0f} {y - out:.0f}q{-s * out:.0f} {out:.0f} 0 {down:.0f}" for s in (-1, 1)
    )
    cross = (
        f"M{x - size:.0f} {y:.0f}h{2 * size:.0f}M{x:.0f} {y - size:.0f}v{2 * size:.0f}" if kind == 2 else ""
    )
    return [circle(x, y, size, skin), path(curves + cross, dark, 2.5)]


def mountains(rng: random.Random, ink: Ink) -> Scene:
    """Ranges fading into haze, a sun and still water with a small sail."""
    warm = ink.tone(200 + 20 * ink.mood, 85, 68)
    sun = rng.uniform(60, 260)
    shapes = [circle(sun, rng.uniform(46, 74), rng.uniform(18, 28), warm)]
    for layer, level in enumerate((88, 108, 126)):
        tone = ink.tone(12 + 8 * layer, 26 + 8 * layer, 66 - 15 * layer)
        shapes.append(polygon(ridge(rng, level, 30 - 7 * layer, 5 + 2 * layer), tone))
    water = rng.uniform(142, 152)
    shapes.append(rect(0, water, WIDTH, HEIGHT - water, ink.tone(6, 48, 46)))
    for k in range(6):
        wide = rng.uniform(14, 40)
        shapes.append(
            rect(
                sun - wide / 2 + rng.uniform(-8, 8), water + 5 + 8 * k, wide, 2.4, warm, 'rx="1" opacity=".6"'
            )
        )
    x, y = rng.uniform(60, 260), water + 20
    shapes += [
        shape(f"M{x:.0f} {y:.0f}v-30l18 26z", "#fff"),
        shape(f"M{x - 3:.0f} {y - 3:.0f}v-20l-11 18z", "#fdeee0"),
        shape(f"M{x - 16:.0f} {y + 1:.0f}h36l-6 8h-24z", ink.tone(180, 50, 34)),
    ]
    return ink.tone(10, 55, 66), ink.tone(180 + 30 * ink.mood, 75, 84), shapes


def arches(rng: random.Random, ink: Ink) -> Scene:
    """A colonnade on steps before a low sun."""
    stone, shade, dark = ink.tone(12, 36, 74), ink.tone(8, 32, 62), ink.tone(-6, 38, 30)
    shapes = [circle(rng.uniform(70, 250), rng.uniform(60, 110), 40, ink.tone(22, 95, 74), 'opacity=".85"')]
    shapes.append(polygon(ridge(rng, 130, 14, 6), ink.tone(-12, 34, 46)))
    count = rng.choice((3, 4, 5))
    width, top = 236 / count, rng.uniform(60, 78)
    shapes += [rect(42, top, 236, 166 - top, stone), rect(34, top - 11, 252, 13, shade)]
    if rng.random() < 0.55:
        shapes.append(polygon([(34, top - 11), (160, top - 46), (286, top - 11)], stone))
    for k in range(count):
        x, half = 42 + width * (k + 0.5), width * 0.31
        arch = f"M{x - half:.1f} 166V{top + 18 + half:.1f}a{half:.1f} {half:.1f} 0 0 1 {2 * half:.1f} 0V166z"
        shapes.append(shape(arch, dark))
        shapes.append(rect(x + half, top + 16 + half, width - 2 * half, 5, shade) if k < count - 1 else "")
    shapes += [
        rect(30 - 12 * k, 166 + 11 * k, 260 + 24 * k, 12, ink.tone(10, 30, 68 - 8 * k)) for k in range(4)
    ]
    return (
        ink.tone(*((190, 52, 62) if ink.mood > 0.6 else (-25 * ink.mood, 62, 54))),
        ink.tone(22, 85, 80),
        shapes,
    )
