"""Small pictures as SVG, made by hand: no plotting library for two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 56, 40, 28
WIDEST_MS: Final = 60
BLUE, RED, GREY = "#31688e", "#d1495b", "#444444"


def histogram(counts: Mapping[int, int], marks: Sequence[tuple[str, float]], title: str) -> str:
    """Bars of one millisecond; what is beyond the last one is counted in it."""
    last = min(max(*counts, 10), WIDEST_MS)
    bars: dict[int, int] = {}
    for value, count in counts.items():
        place = min(max(value, 0), last)
        bars[place] = bars.get(place, 0) + count
    step = (WIDTH - LEFT - 12) / (last + 1)
    scale = (HEIGHT - BOTTOM - TOP) / max(bars.values())
    parts = [_text(LEFT, 18, title, "start"), *_frame(max(bars.values()), "ms after due time")]
    for value, count in sorted(bars.items()):
        parts.append(_bar(LEFT + value * step, step * 0.86, max(count * scale, 0.8)))
    every = 5 if last > 12 else 1
    for value in range(0, last + 1, every):
        label = f"{value}+" if value == last == WIDEST_MS else str(value)
        parts.append(_text(LEFT + (value + 0.43) * step, HEIGHT - BOTTOM + 16, label, "middle"))
    for number, (name, at_ms) in enumerate(marks):
        parts += _mark(LEFT + (min(at_ms, last) + 0.43) * step, number, f"{name} {at_ms:g} ms")
    return _drawing(parts)


def course(
    values_ms: Mapping[int, int], marks: Sequence[tuple[str, float]], title: str, what: str
) -> str:
    """One bar for each second, from the first to the last; marks where something was done."""
    first, last = min(values_ms), max(values_ms)
    highest = max(*values_ms.values(), 10)
    step = (WIDTH - LEFT - 12) / (last - first + 1)
    scale = (HEIGHT - BOTTOM - TOP) / highest
    parts = [_text(LEFT, 18, title, "start"), *_frame(highest, what)]
    for second, value in sorted(values_ms.items()):
        parts.append(_bar(LEFT + (second - first) * step, step * 0.86, max(value, 0) * scale))
    every = max(1, round((last - first) / 10))
    for second in range(first, last + 1, every):
        x = LEFT + (second - first + 0.43) * step
        parts.append(_text(x, HEIGHT - BOTTOM + 16, str(second), "middle"))
    for number, (name, at_s) in enumerate(marks):
        parts += _mark(LEFT + (at_s - first) * step, number % 3, name)
    return _drawing(parts)


def _drawing(parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{BLUE}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _bar(x: float, width: float, height: float) -> str:
    y = HEIGHT - BOTTOM - height
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _frame(highest: int, what: str) -> list[str]:
    base = HEIGHT - BOTTOM
    return [
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 12}" y2="{base}" stroke="{GREY}"/>',
        _text(LEFT - 6, TOP + 8, f"{highest:,}", "end"),
        _text(LEFT - 6, base, "0", "end"),
        _text(WIDTH - 12, HEIGHT - 6, what, "end"),
    ]


def _mark(x: float, row: int, words: str) -> list[str]:
    y = TOP + 14 * row
    return [
        f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="{RED}"/>',
        _text(x + 4, y + 10, words, "start"),
    ]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="#222222">{escape(words)}</text>'
