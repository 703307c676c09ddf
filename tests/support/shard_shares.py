"""What is fair when shards are shared out, and how many must move: counted apart from the product.

Knows only what an operator sees: who is there, how strong, who leaves, where shards are wished, and
where each shard was before and is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


@dataclass(frozen=True, slots=True)
class Node:
    """A scheduler node as it introduced itself."""

    strength: int
    draining: bool = False


Shards = Mapping[int, str]


def unfair(
    shards: int, nodes: Mapping[str, Node], wishes: Shards, before: Shards, after: Shards
) -> Iterator[str]:
    """Everything that is wrong with an assignment, given the one before."""
    takers = {name: node.strength for name, node in nodes.items() if not node.draining}
    if not takers:
        return
    if set(after) != set(range(shards)):
        yield f"{sorted(set(range(shards)) ^ set(after))} are missing or made up"
    yield from (f"{name} has {s}, and cannot" for s, name in after.items() if name not in takers)
    pinned = {shard: name for shard, name in wishes.items() if name in takers}
    yield from (f"{s} is not at {name}" for s, name in pinned.items() if after.get(s) != name)
    has = {name: [s for s, where in after.items() if where == name] for name in takers}
    counts = {name: list(pinned.values()).count(name) for name in takers}
    fair = _shares(shards, takers, counts, ceil)
    other = _shares(shards, takers, counts, floor)
    for name, share in fair.items():
        least, most = floor(min(share, other[name])), ceil(max(share, other[name]))
        if not least <= len(has[name]) <= most:
            yield f"{name} has {len(has[name])}, its share is {float(share):.2f}"
    yield from _moves(pinned, before, after, has, fair if fair == other else {})


def untold(
    nodes: Mapping[str, Node],
    wishes: Shards,
    before: Shards,
    after: Shards,
    reasons: Mapping[int, str],
) -> Iterator[str]:
    """Reasons of moves that are not true: of people's wish, a drain, a loss, a newcomer."""
    had = set(before.values())
    draining = {name for name, node in nodes.items() if node.draining}
    for shard, name in after.items():
        giver, why = before.get(shard), reasons.get(shard, "")
        if giver == name:
            continue
        true = {
            "operator": wishes.get(shard) == name,
            "first": giver is None,
            "drain": giver in draining,
            "left": giver not in nodes,
            "joined": name not in had,
        }
        word = next((each for each, holds in true.items() if holds), "more than its share")
        if word not in why:
            yield f"{shard} moved from {giver} to {name}, by {why!r}, not {word!r}"


def _moves(
    pinned: Shards,
    before: Shards,
    after: Shards,
    has: Mapping[str, list[int]],
    fair: Mapping[str, Fraction],
) -> Iterator[str]:
    """What a taker gave away although it need not have."""
    own = {
        name: [s for s, where in before.items() if where == name and pinned.get(s, name) == name]
        for name in has
    }
    lost = [name for name in has if any(after.get(s) != name for s in own[name])]
    won = [
        name
        for name in has
        if any(before.get(shard) != name and shard not in pinned for shard in has[name])
    ]
    for name in lost:
        if name in won:
            yield f"{name} gave some away and was given others"
        for other in won if fair else ():
            one_less = len(has[name]) < fair[name] and len(own[name]) > len(has[name])
            one_more = len(has[other]) > fair[other]
            if one_less and one_more:
                yield f"{name} gave one to {other}, and either may have one more than its share"


def _shares(
    shards: int,
    weights: Mapping[str, int],
    pinned: Mapping[str, int],
    rounded: Callable[[Fraction], int],
) -> dict[str, Fraction]:
    """Shares by weight; who must have more than that by people's wish has it, and others share.

    `rounded`: a share is not whole, and what is more than either side of it may count as more.
    """
    full: dict[str, Fraction] = {}
    while True:
        rest = {name: weight for name, weight in weights.items() if name not in full}
        left = shards - sum(full.values())
        total = sum(rest.values())
        shares = {name: Fraction(left * weight, total) for name, weight in rest.items()}
        over = {name for name, share in shares.items() if pinned[name] > rounded(share)}
        if not over:
            return full | shares
        full |= {name: Fraction(pinned[name]) for name in over}
