"""Makes and checks the lists of a chunk of users: compiled where numba is installed, else in numpy; the same lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import compiled_seen, gates
from worker.nightly.compiled import Composer, available
from worker.nightly.compose import Complete, compose
from worker.nightly.plan import Plan
from worker.nightly.subtract import position_table, unseen
from worker.seen_set import Words, live_items

Members = NDArray[np.signedinteger[Any]]
Offsets = NDArray[np.int64]


class Made(Protocol):
    """Finished lists: ``entries`` (users, list_length) uint16, the rest (users,)."""

    @property
    def entries(self) -> NDArray[np.uint16]: ...
    @property
    def lengths(self) -> NDArray[np.int32]: ...
    @property
    def narrowed(self) -> NDArray[np.int32]: ...
    @property
    def missed(self) -> NDArray[np.int64]: ...
    @property
    def new(self) -> NDArray[np.int64]: ...


class Makes(Protocol):
    """What both composers do. ``members`` are item numbers, or 0 for none; those of user ``u`` stand from
    ``offsets[u]`` to ``offsets[u + 1]``.

    ``reuse`` is what an earlier call made and nobody needs any more: its memory may be written over.
    """

    def __call__(self, users: Sequence[bytes], last_seen_ms: NDArray[np.int64], members: Members, offsets: Offsets,
                 reuse: Any = None) -> Any: ...
    def count_repeats(self, made: Any, members: Members, offsets: Offsets) -> int: ...
    def count_avoidable(self, made: Any) -> int: ...


class NumpyComposer:
    """The reference: the stages as they are defined."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self._plan, self._settings = plan, settings
        self._table = position_table(plan.pool, plan.max_item)

    def __call__(self, users: Sequence[bytes], last_seen_ms: NDArray[np.int64], members: Members, offsets: Offsets,
                 reuse: Any = None) -> Complete:
        """Complete lists for ``users``, last seen at ``last_seen_ms`` (users,)."""
        return compose(users, last_seen_ms, self._unseen(members, offsets), self._plan, self._settings)

    def count_repeats(self, made: Complete, members: Members, offsets: Offsets) -> int:
        """Entries that were seen, or stand twice in their list."""
        return gates.count_repeats(made, self._unseen(members, offsets))

    def count_avoidable(self, made: Complete) -> int:
        """Spacing violations that an item left over would have avoided."""
        return gates.count_avoidable(made, self._plan, self._settings.gap)

    def _unseen(self, members: Members, offsets: Offsets) -> NDArray[np.bool_]:
        users = len(offsets) - 1
        rows = np.repeat(np.arange(users), np.diff(offsets))
        return unseen(members.astype(np.int64), rows, users, self._table, len(self._plan.pool))


def is_compiled(settings: Settings) -> bool:
    """Whether compiled code makes the lists: where it can be had, unless ``compiled = false`` asks for numpy."""
    return settings.compiled and available()


def decoder(settings: Settings) -> Callable[[Words, int], Members]:
    """What makes item numbers of words: seen_set.live_items, or its twin."""
    return compiled_seen.live_items if is_compiled(settings) else live_items


def composer(plan: Plan, settings: Settings) -> Makes:
    """The faster of those that can be had here."""
    return Composer(plan, settings) if is_compiled(settings) else NumpyComposer(plan, settings)
