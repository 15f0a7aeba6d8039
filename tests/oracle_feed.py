"""A plain restatement of how the edge orders a feed, sharing nothing with ``lua/edge/assemble.lua``.

It takes all that is left, live and unseen, as two sequences, and has no queues: what "waits" is simply still there.
"""

from collections.abc import Mapping, Sequence

LOOK_AHEAD = 32  # regular items among which an allowed one is looked for
FRESH_LOOK_AHEAD = 8


def ago(item: int, served: Sequence[int], category: Mapping[int, int], gap: int) -> int:
    """0 when the item's category may come next, else how many positions ago it was served."""
    recent = served[::-1][:gap]
    return next((age for age, other in enumerate(recent, 1) if category[other] == category[item]), 0)


def first_allowed(
    line: Sequence[int], served: Sequence[int], category: Mapping[int, int], gap: int
) -> int | None:
    """The first item of a line whose category may come next."""
    return next((item for item in line if ago(item, served, category, gap) == 0), None)


def feed_order(
    regular: Sequence[int], fresh: Sequence[int], category: Mapping[int, int], gap: int, every: int
) -> list[int]:
    """The whole feed: ``regular`` items through all stages, ``fresh`` ones newest first."""
    left, new, served = list(regular), list(fresh), list[int]()
    while left or new:
        chosen = None
        if len(served) % every == 2:
            chosen = first_allowed(new[:FRESH_LOOK_AHEAD], served, category, gap)
        if chosen is None:
            chosen = first_allowed(left[:LOOK_AHEAD], served, category, gap)
        if chosen is None and len(left) < LOOK_AHEAD:
            chosen = first_allowed(new[:FRESH_LOOK_AHEAD], served, category, gap)
        if chosen is None:
            line = left[:LOOK_AHEAD] or new[:FRESH_LOOK_AHEAD]
            chosen = max(line, key=lambda item: ago(item, served, category, gap))
        (left if chosen in left else new).remove(chosen)
        served.append(chosen)
    return served
