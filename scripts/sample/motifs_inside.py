"""Motifs indoors: a plate, a stage and a room."""

import math
import random

from scripts.sample.ink import HEIGHT, WIDTH, Ink, Scene, circle, ellipse, line, path, polygon, rect, shape


def plate(rng: random.Random, ink: Ink) -> Scene:
    """A laid table from above: a filled plate, slices and leaves."""
    x, y = rng.uniform(125, 195), rng.uniform(94, 108)
    boards = "".join(f"M{26 + 48 * k} 0v{HEIGHT}" for k in range(7))
    shapes = [path(boards, "#fff", 20, 'opacity=".07"')]
    shapes += [
        circle(x + 4, y + 6, 76, "#000", 'opacity=".2"'),
        circle(x, y, 76, "#fdfaf3"),
        circle(x, y, 57, "#efe6d6"),
    ]
    shapes.append(
        circle(
            x, y, rng.uniform(42, 50), ink.tone(rng.choice((-14, 8, 22, 62, 330)), 68, rng.uniform(48, 60))
        )
    )
    for k in range(7):
        angle = math.tau * k / 7 + rng.uniform(-0.25, 0.25)
        far = rng.uniform(16, 34)
        shapes += _topping(rng, ink, x + far * math.cos(angle), y + far * math.sin(angle))
    for side in (-1, 1):
        sx, sy = x + side * rng.uniform(112, 134), rng.uniform(40, 165)
        shapes += _slice(sx, sy, rng.uniform(19, 27), ink.tone(rng.choice((-20, 16, 55, 75)), 74, 52))
    if rng.random() < 0.6:
        shapes += [
            line([(x - 96, 46), (x - 96, 168)], "#d9d4cc", 6),
            line([(x - 104, 46), (x - 104, 76), (x - 88, 76), (x - 88, 46)], "#d9d4cc", 4),
        ]
    return ink.tone(-4, 42, 30 + 26 * ink.mood), ink.tone(6, 46, 22 + 24 * ink.mood), shapes


def _topping(rng: random.Random, ink: Ink, x: float, y: float) -> list[str]:
    kind = rng.randrange(3)
    if kind == 0:
        green, turn = ink.tone(rng.uniform(65, 95), 52, 40), rng.randrange(0, 360, 15)
        return [
            shape(
                "M-13 0Q0 -12 13 0Q0 12 -13 0", green, f'transform="translate({x:.0f} {y:.0f})rotate({turn})"'
            )
        ]
    tone = ink.tone(rng.choice((-26, -18, 14, 24)), 80, rng.uniform(50, 66))
    size = rng.uniform(5, 9)
    return [circle(x, y, size, tone), circle(x - 2, y - 2, size * 0.35, "#fff", 'opacity=".5"')]


def _slice(x: float, y: float, size: float, skin: str) -> list[str]:
    turns = [math.tau * k / 6 for k in range(6)]
    ends = [(size * 0.72 * math.cos(turn), size * 0.72 * math.sin(turn)) for turn in turns]
    spokes = "".join(f"M{x:.0f} {y:.0f}l{across:.1f} {down:.1f}" for across, down in ends)
    return [
        circle(x, y, size, skin),
        circle(x, y, size * 0.82, "#fff", 'opacity=".75"'),
        circle(x, y, size * 0.74, skin),
        path(spokes, "#fff", 1.6, 'opacity=".8"'),
    ]


def stage(rng: random.Random, ink: Ink) -> Scene:
    """Curtains, spotlights and a moon, a painting or a mask between them."""
    shapes = []
    for foot in (rng.uniform(90, 150), rng.uniform(170, 230)):
        lamp = rng.uniform(60, 260)
        beam = [(lamp - 6, 0), (lamp + 6, 0), (foot + 46, 168), (foot - 46, 168)]
        shapes += [
            polygon(beam, "#fff3c4", 'opacity=".26"'),
            ellipse(foot, 169, 46, 9, "#fff3c4", 'opacity=".6"'),
        ]
    shapes.insert(0, rect(0, 160, WIDTH, 40, ink.tone(30, 34, 24)))
    shapes += _prop(rng, ink)
    for side in (0, 1):
        for k in range(5):
            x = (k * 17 - 6) if side == 0 else WIDTH - k * 17 - 18
            sway = (1 - 2 * side) * (4 - k) * 3
            fold = f"M{x} 0h24q{sway} 90 {-sway} 186h-24q{sway} -90 {sway} -186z"
            shapes.append(shape(fold, ink.tone(0, 66, 28 + 8 * (k % 2) + 4 * ink.mood)))
    scallop = "".join("a20 22 0 0 1 -40 0" for _ in range(8))
    shapes += [
        shape(f"M0 0H320V14{scallop}z", ink.tone(4, 68, 40)),
        rect(0, 0, WIDTH, 9, ink.tone(55, 75, 56)),
    ]
    return ink.tone(-70 + 120 * ink.mood, 45, 17), ink.tone(-30 + 80 * ink.mood, 46, 34), shapes


def _prop(rng: random.Random, ink: Ink) -> list[str]:
    kind, gold = rng.randrange(3), ink.tone(55, 78, 62)
    if kind == 0:
        moon = "M178 52a36 36 0 1 0 14 62a42 42 0 0 1 -14 -62z"
        return [shape(moon, gold), line([(158, 0), (158, 50)], "#fff", 1, 'opacity=".5"')]
    if kind == 1:
        art = [rect(116, 62, 88, 66, gold, 'rx="2"'), rect(123, 69, 74, 52, ink.tone(190, 40, 82))]
        blobs = [
            circle(
                rng.uniform(138, 182),
                rng.uniform(82, 108),
                rng.uniform(6, 13),
                ink.tone(rng.uniform(0, 360), 65, 55),
                'opacity=".85"',
            )
            for _ in range(4)
        ]
        return [*art, *blobs]
    mask = "M124 68q36 -16 72 0q4 46 -36 64q-40 -18 -36 -64z"
    return [
        shape(mask, "#fbf3e4"),
        ellipse(146, 86, 8, 5, "#2a1320"),
        ellipse(174, 86, 8, 5, "#2a1320"),
        path(f"M142 {108 if rng.random() < 0.5 else 116}q18 {rng.choice((-14, 14))} 36 0", "#2a1320", 4),
    ]


def room(rng: random.Random, ink: Ink) -> Scene:
    """A window, a hanging lamp, a sofa and a plant."""
    left = rng.random() < 0.5
    wx, sx = (40, 150) if left else (204, 34)
    sky = ink.tone(165 + 30 * ink.mood, 60, 80)
    shapes = [
        rect(0, 158, WIDTH, 42, ink.tone(-10, 36, 46)),
        rect(wx, 28, 76, 84, "#fff", 'rx="3"'),
        rect(wx + 5, 33, 66, 74, sky),
    ]
    shapes += [
        circle(wx + rng.uniform(20, 56), 60, 11, "#fff3b8"),
        rect(wx + 36, 33, 4, 74, "#fff"),
        rect(wx + 5, 68, 66, 4, "#fff"),
    ]
    lamp, drop, shade = (
        sx + rng.uniform(30, 100),
        rng.uniform(32, 52),
        ink.tone(rng.choice((-30, 130, 320)), 58, 50),
    )
    shapes += [
        polygon(
            [(lamp - 22, drop + 20), (lamp + 22, drop + 20), (lamp + 70, 158), (lamp - 70, 158)],
            "#fff",
            'opacity=".15"',
        ),
        line([(lamp, 0), (lamp, drop)], "#4a3b30", 2),
        shape(f"M{lamp - 23:.0f} {drop + 21:.0f}q4 -24 23 -24t23 24z", shade),
    ]
    cloth = rng.choice((140, 175, 200, 330, 0))
    sofa, dark = ink.tone(cloth, 40, 52), ink.tone(cloth, 42, 42)
    shapes += [
        rect(sx + 8, 100, 116, 44, dark, 'rx="10"'),
        rect(sx, 118, 22, 46, sofa, 'rx="9"'),
        rect(sx + 110, 118, 22, 46, sofa, 'rx="9"'),
        rect(sx + 16, 130, 100, 32, sofa, 'rx="7"'),
        rect(sx + rng.uniform(26, 80), 108, 26, 25, shade, 'rx="5"'),
    ]
    shapes += [rect(sx + 8, 162, 5, 11, "#4a3b30"), rect(sx + 118, 162, 5, 11, "#4a3b30")]
    px = wx + rng.uniform(10, 60)
    shapes += [
        shape(
            "M0 0Q-12 -26 0 -52Q12 -26 0 0",
            ink.tone(95, 42, 34),
            f'transform="translate({px:.0f} 152)rotate({t})"',
        )
        for t in (-46, -16, 16, 46)
    ]
    shapes.append(shape(f"M{px - 15:.0f} 148h30l-5 28h-20z", ink.tone(-20, 58, 54)))
    return ink.tone(rng.choice((0, 20, 140, 180, 310)), 32, 84), ink.tone(0, 36, 76), shapes
