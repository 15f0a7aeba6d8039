"""Motifs of devices and diagrams: a circuit, a chart, a pulse and a record."""

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
    ring,
    shape,
)


def circuit(rng: random.Random, ink: Ink) -> Scene:
    """A chip and its traces on a dark board."""
    glow, pale = ink.tone(-35 + 60 * ink.mood, 85, 64), ink.tone(0, 40, 36)
    x, y, half = rng.uniform(110, 210), rng.uniform(84, 116), rng.uniform(30, 40)
    shapes = []
    for k in range(6):
        offset = (k - 2.5) * half / 3.2
        for side in (-1, 1):
            bend, end = rng.uniform(18, 42), rng.uniform(66, 150)
            drop = offset * rng.uniform(1.5, 2.7)
            stops = [
                (x + side * half, y + offset),
                (x + side * (half + bend), y + offset),
                (x + side * (half + bend + 16), y + drop),
                (x + side * (half + end), y + drop),
            ]
            tone = glow if rng.random() < 0.35 else pale
            shapes += [line(stops, tone, 2.6), circle(*stops[-1], 4.5, tone)]
    for k in range(4):
        offset = (k - 1.5) * half / 2.2
        shapes += [line([(x + offset, 0), (x + offset, HEIGHT)], pale, 2.6)]
    shapes += [
        rect(x - half - 5, y - half - 5, 2 * half + 10, 2 * half + 10, ink.tone(0, 30, 56), 'rx="5"'),
        rect(x - half, y - half, 2 * half, 2 * half, ink.tone(0, 36, 13), 'rx="4"'),
        rect(x - half * 0.5, y - half * 0.5, half, half, glow, 'rx="3" opacity=".9"'),
        ring(x, y, half * 0.26, ink.tone(0, 40, 13), 4),
    ]
    return ink.tone(0, 55, 20), ink.tone(30, 50, 11 + 8 * ink.mood), shapes


def chart(rng: random.Random, ink: Ink) -> Scene:
    """Bars with a line above them, on ruled paper."""
    shapes = [line([(24, y), (296, y)], "#fff", 1.2, 'opacity=".5"') for y in range(30, 180, 28)]
    count, level, drift = rng.choice((6, 7, 8, 9)), rng.uniform(60, 96), rng.uniform(-9, 12)
    step, tops = 264 / count, []
    for k in range(count):
        level = min(max(level + drift + rng.gauss(0, 13), 22), 128)
        tops.append((28 + step * (k + 0.45), 168 - level - 20))
        tone = ink.tone(14 * k / count, 52, 52 - 22 * k / count)
        shapes.append(rect(28 + step * k, 168 - level, step * 0.7, level, tone, 'rx="3"'))
    accent = ink.tone(205 if drift < 0 else -125, 85, 58)
    area = [(tops[0][0], 168), *tops, (tops[-1][0], 168)]
    shapes += [polygon(area, accent, 'opacity=".16"'), line(tops, accent, 4)]
    shapes += [circle(px, py, 5, "#fff", f'stroke="{accent}" stroke-width="3"') for px, py in tops]
    shapes.append(line([(20, 169), (300, 169)], ink.tone(0, 40, 22), 3))
    return ink.tone(0, 38, 90), ink.tone(20, 42, 72 + 10 * ink.mood), shapes


def pulse(rng: random.Random, ink: Ink) -> Scene:
    """Soft rings, a heart and the line of its beat."""
    x, y = rng.uniform(110, 210), rng.uniform(86, 106)
    shapes = [circle(x, y, r, "#fff", 'opacity=".16"') for r in (128, 100, 74)]
    size, red = rng.uniform(2.3, 3.1), ink.tone(22 * ink.mood, 72, 60)
    heart = "M0 19C-28 -1 -20 -20 -9 -19Q-3 -18 0 -11Q3 -18 9 -19C20 -20 28 -1 0 19z"
    shapes.append(shape(heart, red, f'transform="translate({x:.0f} {y:.0f})scale({size:.1f})"'))
    place = f"translate({x - 8 * size:.0f} {y - 11 * size:.0f})rotate(-35)"
    shapes.append(ellipse(0, 0, 9, 5, "#fff", f'opacity=".45" transform="{place}"'))
    beat, px = [(0.0, y + 8)], 16.0
    while px < WIDTH:
        tall = rng.uniform(18, 46)
        beat += [(px, y + 8), (px + 7, y + 8 - tall), (px + 16, y + 8 + tall * 0.7), (px + 23, y + 8)]
        px += rng.uniform(44, 66)
    shapes += [line([*beat, (WIDTH, y + 8)], "#fff", 4.5), *_leaves(rng, ink)]
    return ink.tone(-16, 62, 84), ink.tone(30 - 110 * ink.mood, 52, 74), shapes


def _leaves(rng: random.Random, ink: Ink) -> list[str]:
    green = ink.tone(170 + 20 * ink.mood, 34, 46)
    corner = rng.choice((20, 300))
    leaf = "M0 0Q-16 -34 0 -62Q16 -34 0 0"
    turns = (-54, -18, 18, 54)
    return [
        shape(leaf, green, f'opacity=".85" transform="translate({corner} 206)rotate({turn})"')
        for turn in turns
    ]


def record(rng: random.Random, ink: Ink) -> Scene:
    """A record and the bars of its sound."""
    x, accent = (
        rng.choice((104, 216)) + rng.uniform(-12, 12),
        ink.tone(rng.choice((60, 110, 180, 250)), 82, 62),
    )
    bars = ""
    for k in range(32):
        tall = (34 + 132 * rng.random()) * (0.35 + 0.65 * math.sin(math.pi * (k + 1) / 33))
        bars += f"M{5 + 10 * k} {100 - tall / 2:.0f}v{tall:.0f}"
    shapes = [path(bars, accent, 5, 'opacity=".5"')]
    shapes += [circle(x + 3, 106, 78, "#000", 'opacity=".28"'), circle(x, 100, 78, "#17141c")]
    shapes += [ring(x, 100, r, "#3c3547", 1.4) for r in (70, 62, 54, 46, 38)]
    turn = rng.uniform(0, 90)
    shine = f"M{x:.0f} 100l-30 -70a76 76 0 0 1 22 -6zM{x:.0f} 100l30 70a76 76 0 0 1 -22 6z"
    shapes += [
        shape(shine, "#fff", f'opacity=".15" transform="rotate({turn:.0f} {x:.0f} 100)"'),
        circle(x, 100, 29, accent),
        ring(x, 100, 20, "#fff", 2, 'opacity=".6"'),
        circle(x, 100, 5, "#17141c"),
    ]
    side = 1 if x < 160 else -1
    arm = [(x + side * 108, 22), (x + side * 104, 78), (x + side * 56, 122)]
    shapes += [
        line(arm, "#e8e2ee", 5),
        circle(*arm[0], 11, "#e8e2ee"),
        line([arm[2], (x + side * 47, 130)], "#e8e2ee", 10),
    ]
    return ink.tone(0, 48, 30 + 20 * ink.mood), ink.tone(60, 58, 42), shapes
