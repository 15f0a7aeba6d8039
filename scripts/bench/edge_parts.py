"""The parts of `make bench-edge` that compare one load with another, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from scripts.bench.edge_load import Load, Loader, summary

BEACON_TARGET, EVENTS_TARGET, FEED_TARGET = 0.4, 150_000, 0.55
EVENTS = 20


class Rounds:
    """Measures the chosen loads in turns, so that a share is of the same moment as what it is a share of."""

    def __init__(self, loader: Loader, say: Callable[[str], None]) -> None:
        self._loader, self._say = loader, say
        self._loads: dict[str, list[Load]] = {}
        self._counted: list[int] = []

    def run(self, parts: Sequence[str], repeats: int) -> dict[str, Any]:
        """The results by name: ceiling, and those of beacon1, beacon20, feed that are among ``parts``."""
        loader = self._loader
        kinds: dict[str, Callable[[], Load]] = {"ceiling": loader.healthz}
        if "beacon1" in parts:
            kinds["beacon1"] = lambda: loader.beacons(1)
        if "beacon20" in parts:
            kinds["beacon20"] = self._beacon20
        if "feed" in parts:
            kinds |= {"file": loader.file, "memory": loader.memory, "feed": loader.feeds}
        for turn in range(repeats):
            for name, load in kinds.items():
                self._measure(name, load, f"{turn + 1} of {repeats}")
        return {name: self._result(name) for name in kinds}

    def _measure(self, name: str, load: Callable[[], Load], turn: str) -> None:
        found = load()
        self._loads.setdefault(name, []).append(found)
        self._say(f"{name}, {turn}: {found.per_second:,.0f} a second")

    def _beacon20(self) -> Load:
        before = self._loader.site.impressions()
        load = self._loader.beacons(EVENTS)
        self._counted.append(self._loader.site.impressions() - before)
        return load

    def _result(self, name: str) -> dict[str, Any]:
        result, loads = summary(self._loads[name]), self._loads[name]
        if name == "beacon1":
            return {**result, **_share(self._shares(name, "ceiling"), BEACON_TARGET)}
        if name == "feed":
            return {**result, **_share(self._shares(name, "file"), FEED_TARGET),
                    "share_of_memory": round(statistics.median(self._shares(name, "memory")), 3),
                    "share_of_ceiling": round(statistics.median(self._shares(name, "ceiling")), 3)}
        return {**result, **self._events(loads)} if name == "beacon20" else result

    def _shares(self, name: str, of: str) -> list[float]:
        pairs = zip(self._loads[name], self._loads[of], strict=True)
        return [load.per_second / whole.per_second for load, whole in pairs]

    def _events(self, loads: Sequence[Load]) -> dict[str, Any]:
        acknowledged, counted = EVENTS * sum(load.acknowledged for load in loads), sum(self._counted)
        sent = EVENTS * sum(load.report.beacons for load in loads)
        per_second = round(statistics.median(EVENTS * load.per_second for load in loads))
        return {"events_per_second": per_second, "target": EVENTS_TARGET, "met": per_second >= EVENTS_TARGET,
                "sent": sent, "acknowledged": acknowledged, "counted": counted,
                "all_found": acknowledged <= counted <= sent}


def _share(shares: Sequence[float], target: float) -> dict[str, Any]:
    share = round(statistics.median(shares), 3)
    return {"share": share, "shares": [round(one, 3) for one in shares], "target": target, "met": share >= target}
