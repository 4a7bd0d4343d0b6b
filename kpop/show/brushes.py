"""What the covers are drawn with: the house colours, and the few strokes that they share, as SVG."""

import math
import random

SIZE = 120  # units along an edge
NIGHT, VIOLET, PLUM, PINK, PEACH, CREAM = "#150d1f", "#3b1d5c", "#8a1f73", "#e0428c", "#ffa07a", "#fff1d6"
AMBER, AQUA, BERRY, LEAF = "#ffb52e", "#6fe7f2", "#c0143c", "#5fbf7a"


def blend(ident: str, *colours: str) -> str:
    """A gradient from the top down, its colours at even distances."""
    return f'<linearGradient id="{ident}" x2="0" y2="1">{_stops(colours)}</linearGradient>'


def glow(ident: str, *colours: str, at: tuple[float, float] = (0.5, 0.5), reach: float = 0.7) -> str:
    """A gradient from the point `at` outwards; all in shares of width and height."""
    return f'<radialGradient id="{ident}" cx="{at[0]}" cy="{at[1]}" r="{reach}">{_stops(colours)}</radialGradient>'


def _stops(colours: tuple[str, ...]) -> str:
    share = 1 / (len(colours) - 1)
    return "".join(f'<stop offset="{i * share:.2f}" stop-color="{colour}"/>' for i, colour in enumerate(colours))


def paper(paint: str) -> str:
    return f'<rect width="{SIZE}" height="{SIZE}" fill="{paint}"/>'


def dots(chance: random.Random, n: int, top: float, bottom: float, sizes: tuple[float, float]) -> str:
    """n round dots anywhere between two heights, all of one size out of a span."""
    spots = "".join(f"M{chance.uniform(2, 118):.0f} {chance.uniform(top, bottom):.0f}h0" for _ in range(n))
    return f'<path d="{spots}" stroke="{CREAM}" stroke-width="{chance.uniform(*sizes):.1f}" stroke-linecap="round"/>'


def polar(radius: float, turn: float) -> tuple[float, float]:
    """A point round the middle. turn: share of a full turn from the right, downwards."""
    return 60 + radius * math.cos(math.tau * turn), 60 + radius * math.sin(math.tau * turn)
