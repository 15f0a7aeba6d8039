"""A slow, plain restatement of the spacing rules, sharing nothing with `worker.nightly.space`.

Whether a rest can be filled is found by trying every order, not by the closed form.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache


def blocked(history: Sequence[int], gap: int) -> set[int]:
    """The categories that stand in the last `gap` positions."""
    return set(history[max(0, len(history) - gap) :])


def can_fill(remaining: Sequence[int], history: Sequence[int], left: int, gap: int) -> bool:
    """Whether some order of some `left` of the remaining categories has no violation after `history`."""
    counts = Counter(remaining)
    recent = list(history[max(0, len(history) - gap) :])
    waits = {c: gap - len(recent) + 1 + i for i, c in enumerate(recent)}  # the later of two stands
    return search(tuple(sorted((waits.get(c, 0), n) for c, n in counts.items())), left, gap)


@cache
def search(state: tuple[tuple[int, int], ...], left: int, gap: int) -> bool:
    """Try every category that may stand next; `state` holds (steps until allowed, items left) of each."""
    if left == 0:
        return True
    for chosen, (wait, items) in enumerate(state):
        if wait == 0 and items > 0:
            rest = [(max(w - 1, 0), n) for i, (w, n) in enumerate(state) if i != chosen and n > 0]
            if search(tuple(sorted([*rest, (gap, items - 1)])), left - 1, gap):
                return True
    return False


def widest(remaining: Sequence[int], history: Sequence[int], left: int, gap: int) -> int:
    """The widest gap, at most `gap`, that the rest can be filled at; 0 always can."""
    return next(g for g in range(gap, -1, -1) if can_fill(remaining, history, left, g))


def spaced(row: Sequence[int], gap: int, limit: int) -> tuple[list[int], int]:
    """The order of positions that the rules ask for, and the number of violations in it."""
    order: list[int] = []
    waiting = list(range(len(row)))
    violations = 0
    while waiting and len(order) < limit:
        history = [row[i] for i in order]
        chosen = next_item(row, waiting, history, min(limit, len(row)) - len(order), gap)
        violations += row[chosen] in blocked(history, gap)
        waiting.remove(chosen)
        order.append(chosen)
    return order, violations


def next_item(row: Sequence[int], waiting: list[int], history: list[int], left: int, gap: int) -> int:
    """The best item allowed at the widest gap that allows any; of these, one that keeps what can be kept."""
    candidates = next(
        found
        for g in range(gap, -1, -1)
        if (found := [i for i in waiting if row[i] not in blocked(history, g)])
    )
    keep = widest([row[i] for i in waiting], history, left, gap)
    for i in candidates:
        if can_fill([row[j] for j in waiting if j != i], [*history, row[i]], left - 1, keep):
            return i
    return candidates[0]
