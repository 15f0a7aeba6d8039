"""Colours and shapes that the motifs are made of; SVG elements as short strings."""

import colorsys
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 200

Scene = tuple[str, str, list[str]]  # colour at the top, at the bottom, and the shapes from back to front


@dataclass(frozen=True)
class Ink:
    """The colours of one picture: base ``hue`` in degrees; motifs read ``mood`` (0 to 1) as they like."""

    hue: float
    mood: float

    def tone(self, turn: float, saturation: float, lightness: float) -> str:
        """The colour ``turn`` degrees away from the base hue; saturation and lightness from 0 to 100."""
        hue = (self.hue + turn) % 360 / 360
        parts = colorsys.hls_to_rgb(hue, lightness / 100, saturation / 100)
        return "#" + "".join(f"{round(part * 255):02x}" for part in parts)


Motif = Callable[[random.Random, Ink], Scene]


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _more(extra: str) -> str:
    return f" {extra}" if extra else ""


def rect(x: float, y: float, width: float, height: float, fill: str, extra: str = "") -> str:
    """A rectangle; ``extra`` is more attributes, such as ``rx="4"``."""
    size = f'width="{_n(width)}" height="{_n(height)}"'
    return f'<rect x="{_n(x)}" y="{_n(y)}" {size} fill="{fill}"{_more(extra)}/>'


def circle(x: float, y: float, radius: float, fill: str, extra: str = "") -> str:
    """A filled circle."""
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}"{_more(extra)}/>'


def ellipse(x: float, y: float, across: float, down: float, fill: str, extra: str = "") -> str:
    """A filled ellipse of radii ``across`` and ``down``."""
    return (
        f'<ellipse cx="{_n(x)}" cy="{_n(y)}" rx="{_n(across)}" ry="{_n(down)}" fill="{fill}"{_more(extra)}/>'
    )


def ring(x: float, y: float, radius: float, stroke: str, width: float = 2, extra: str = "") -> str:
    """A circle's outline."""
    return circle(x, y, radius, "none", f'stroke="{stroke}" stroke-width="{_n(width)}"{_more(extra)}')


def polygon(points: Iterable[tuple[float, float]], fill: str, extra: str = "") -> str:
    """A filled polygon."""
    return f'<path d="M{_joined(points)}z" fill="{fill}"{_more(extra)}/>'


def line(points: Iterable[tuple[float, float]], stroke: str, width: float = 2, extra: str = "") -> str:
    """An open line through the points, with round ends."""
    return path(f"M{_joined(points)}", stroke, width, extra)


def path(commands: str, stroke: str, width: float = 2, extra: str = "") -> str:
    """The outline of SVG path ``commands``, not filled."""
    return f'<path d="{commands}" fill="none" stroke="{stroke}" stroke-width="{_n(width)}"{_more(extra)}/>'


def dots(points: Iterable[tuple[float, float]], fill: str, size: float, extra: str = "") -> str:
    """Round dots of diameter ``size`` as one path: lines of no length with round ends."""
    return path("".join(f"M{_n(x)} {_n(y)}h0" for x, y in points), fill, size, extra)


def shape(commands: str, fill: str, extra: str = "") -> str:
    """SVG path ``commands``, filled."""
    return f'<path d="{commands}" fill="{fill}"{_more(extra)}/>'


def ridge(rng: random.Random, level: float, swing: float, steps: int) -> list[tuple[float, float]]:
    """The points of a hilly layer that fills the picture from about ``level`` down to its lower edge."""
    tops = [(WIDTH * i / steps, level + rng.uniform(-swing, swing)) for i in range(steps + 1)]
    return [(0, HEIGHT), *tops, (WIDTH, HEIGHT)]


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
