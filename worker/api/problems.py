"""Errors as RFC 9457 problem JSON: ``type``, ``title``, ``status``, ``detail``."""

from __future__ import annotations

from typing import Any

import falcon
import orjson

from worker.catalogue import ItemError
from worker.store.errors import StoreError
from worker.store.items import CategoriesFullError

MEDIA_PROBLEM = "application/problem+json"
RETRY_SECONDS = 5


class ImportRefusedError(falcon.HTTPUnprocessableEntity):
    """Not one line of a body was an item; the problem carries the result of each."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(description="no line of the body is an item: `errors` says why")
        self.result = result


def install(app: falcon.App[Any, Any]) -> None:
    """Make every error of ``app``, also of falcon itself, a problem."""
    app.set_error_serializer(serialize)
    app.add_error_handler(StoreError, _store_failed)
    app.add_error_handler((ItemError, CategoriesFullError), _not_an_item)
    app.add_sink(_no_route, "/")


def serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Write ``error`` as the body of ``resp``."""
    # The phrase of the status is the title, whatever falcon calls the cause: what happened stands in the detail.
    title = falcon.code_to_http_status(error.status_code).partition(" ")[2]
    problem = {"type": "about:blank", "title": title, "status": error.status_code,
               "detail": error.description or _DETAILS.get(error.status_code, title)}
    if isinstance(error, ImportRefusedError):
        problem |= error.result
    resp.content_type = MEDIA_PROBLEM
    resp.data = orjson.dumps(problem)


_DETAILS = {
    405: "this address does not take that method: the Allow header names those it takes",
    500: "something failed here that should not: the log of the API has the details",
}


def _no_route(req: falcon.Request, resp: falcon.Response, **rest: Any) -> None:
    raise falcon.HTTPNotFound(description="there is no such address: /api/openapi.json lists all")


def _store_failed(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    # The reason names sockets and addresses of this host: it is for the log.
    req.log_error(str(error))
    detail = "the store does not answer, or takes no writes now: try again"
    raise falcon.HTTPServiceUnavailable(description=detail, retry_after=RETRY_SECONDS)


def _not_an_item(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    raise falcon.HTTPUnprocessableEntity(description=str(error))
