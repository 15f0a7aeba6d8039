"""What is known of a person: export and erasure."""

from __future__ import annotations

import falcon

from worker.store import users
from worker.store.connect import Store
from worker.tokens import ID


class OneUser:
    """``/api/users/{user}``."""

    role = "admin"

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, user: str) -> None:
        """Everything that is kept of the person; empty parts for a stranger."""
        resp.media = users.export(self._store, _checked(user))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, user: str) -> None:
        """Erase the person; the counts of what was erased are the answer, and zeros the second time."""
        resp.media = users.forget(self._store, _checked(user))


def _checked(user: str) -> str:
    if not ID.fullmatch(user):
        raise falcon.HTTPUnprocessableEntity(
            description="the user in the address must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -")
    return user
