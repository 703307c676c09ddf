"""A histogram as a small SVG, made by hand: no plotting library for one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 56, 40, 28
WIDEST_MS = 60


def histogram(values_ms: Sequence[int], marks: Sequence[tuple[str, float]]) -> str:
    """Bars of one millisecond; what is beyond the last one is counted in it."""
    last = min(max(max(values_ms), 10), WIDEST_MS)
    counts = Counter(min(value, last) for value in values_ms)
    highest = max(counts.values())
    step = (WIDTH - LEFT - 12) / (last + 1)
    scale = (HEIGHT - BOTTOM - TOP) / highest
    parts = [_text(LEFT, 18, f"Lateness of {len(values_ms):,} starts, 1 ms bars", "start")]
    for value, count in sorted(counts.items()):
        height = max(count * scale, 0.8)
        x, y = LEFT + max(value, 0) * step, HEIGHT - BOTTOM - height
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.86:.1f}" height="{height:.1f}"/>'
        )
    parts += _axis(last, step, highest)
    parts += _marks(marks, step, last)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#31688e">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _axis(last: int, step: float, highest: int) -> list[str]:
    base = HEIGHT - BOTTOM
    every = 5 if last > 12 else 1
    parts = [
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 12}" y2="{base}" stroke="#444444"/>',
        _text(LEFT - 6, TOP + 8, f"{highest:,}", "end"),
        _text(LEFT - 6, base, "0", "end"),
        _text(WIDTH - 12, HEIGHT - 6, "ms after due time", "end"),
    ]
    for value in range(0, last + 1, every):
        label = f"{value}+" if value == last == WIDEST_MS else str(value)
        parts.append(_text(LEFT + (value + 0.43) * step, base + 16, label, "middle"))
    return parts


def _marks(marks: Sequence[tuple[str, float]], step: float, last: int) -> list[str]:
    parts = []
    for number, (name, value) in enumerate(marks):
        x = LEFT + (min(value, last) + 0.43) * step
        y = TOP + 14 * number
        parts.append(
            f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" '
            'stroke="#d1495b" stroke-dasharray="4 3"/>'
        )
        parts.append(_text(x + 4, y + 10, f"{name} {value:g} ms", "start"))
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="#222222">{escape(words)}</text>'
