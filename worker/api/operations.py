"""How things are: the last runs, and the status."""

from __future__ import annotations

import falcon

from worker.status import gather
from worker.store import generations
from worker.store.connect import Store, explained


class Runs:
    """``/api/runs``."""

    role = "admin"

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Reports of the recorded runs, newest date first."""
        with explained("Redis"):
            resp.media = {"runs": generations.read_runs(self._store)}


class Status:
    """``/api/status``."""

    role = "admin"

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """What `worker status --json` prints, without the edge: it has just answered."""
        resp.media = gather(self._store)
