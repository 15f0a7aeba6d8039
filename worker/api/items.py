"""The catalogue: one item, many items as NDJSON, and a listing."""

from __future__ import annotations

import falcon

from worker.api.bodies import MAX_LINES_BODY, MAX_RECORD_BODY, opened
from worker.api.problems import ImportRefusedError
from worker.catalogue import full_record, parse, read
from worker.keyspace import MAX_ITEM
from worker.store import items
from worker.store.connect import Store
from worker.store.imports import put_lines
from worker.store.item_pages import page
from worker.tokens import ID

NAMED_ERRORS = 1000
MAX_PAGE = 1000


class OneItem:
    """``/api/items/{item_id}``."""

    role = "catalogue"

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """The full record."""
        record = items.get(self._store, _checked(item_id))
        if record is None:
            raise _missing(item_id)
        resp.media = record

    def on_put(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Store the record in the body under the id of the address; the stored record is the answer."""
        item = parse(opened(req, MAX_RECORD_BODY).read(), _checked(item_id))
        known = items.numbers_of(self._store, [item_id])
        items.put(self._store, [item])
        resp.status = falcon.HTTP_200 if known else falcon.HTTP_201
        resp.media = full_record(item.served_json(), item.social, item.expires, item.hidden)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Take the item out of the catalogue."""
        if items.remove(self._store, [_checked(item_id)]):
            raise _missing(item_id)
        resp.status = falcon.HTTP_204


class SomeItems:
    """``/api/items``."""

    role = "catalogue"

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A page of full records, in the order in which items were first put."""
        after = req.get_param_as_int("cursor", min_value=0, max_value=MAX_ITEM, default=0)
        limit = req.get_param_as_int("limit", min_value=1, max_value=MAX_PAGE, default=100)
        records, more = page(self._store, after, limit)
        resp.media = {"items": records, "cursor": None if more is None else str(more)}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store the items of an NDJSON body; the good lines stay, whatever the others are."""
        result = put_lines(self._store, read(opened(req, MAX_LINES_BODY), "ndjson"), NAMED_ERRORS)
        errors = [{"line": line, "error": error} for line, error in result.errors]
        answer = {"imported": result.imported, "refused": result.refused, "errors": errors}
        if result.imported + result.refused == 0:
            raise falcon.HTTPBadRequest(description="the body has blank lines only")
        if result.imported == 0:
            raise ImportRefusedError(answer)
        resp.media = answer


def _checked(item_id: str) -> str:
    if not ID.fullmatch(item_id):
        raise falcon.HTTPUnprocessableEntity(
            description="the id in the address must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -")
    return item_id


def _missing(item_id: str) -> falcon.HTTPNotFound:
    return falcon.HTTPNotFound(description=f"there is no item {item_id} in the catalogue")
