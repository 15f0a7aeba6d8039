"""The OpenAPI 3.1 document of the API, and the address that serves it. A test compares it with the routes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import falcon

from worker.api.schemas import SCHEMAS, reference

Json = dict[str, Any]

_ID = {"type": "string", "pattern": "^[A-Za-z0-9._~:-]{1,128}$"}
_PROBLEMS = {
    400: "The body is empty, or a parameter is not what it should be",
    401: "No token, or one that is not valid",
    403: "The token's role may not do this",
    404: "There is no such item",
    411: "The body has no Content-Length",
    413: "The body is too long",
    422: "The id, or the record, is not valid: `detail` names every field",
    503: "Redis does not answer: try again after `Retry-After` seconds",
}


class Description:
    """``/api/openapi.json``, open to all."""

    role = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The document."""
        resp.media = document()


def document() -> Json:
    """Every address, method, parameter, body and answer of the API."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nightfeed", "version": version("nightfeed"),
                 "description": "Catalogue, people's data, runs and status, for the site's own systems."},
        "servers": [{"url": "/"}],
        "paths": {
            "/api/items/{item_id}": {
                "parameters": [_in_path("item_id")],
                "get": _operation("getItem", "One item", "catalogue", {200: _answer("Item")}, (404, 422)),
                "put": {**_operation("putItem", "Store an item, new or in place of what is there", "catalogue",
                                     {200: _answer("Item", "Replaced"), 201: _answer("Item", "New")},
                                     (400, 411, 413, 422)),
                        "requestBody": _body("application/json", reference("ItemRecord"))},
                "delete": _operation("deleteItem", "Take an item out of the catalogue", "catalogue",
                                     {204: {"description": "Removed"}}, (404, 422)),
            },
            "/api/items": {
                "get": {**_operation("listItems", "Items, page by page", "catalogue",
                                     {200: _answer("ItemPage")}, (400,)),
                        "parameters": [_in_query("cursor", {"type": "string", "pattern": "^[0-9]+$"}),
                                       _in_query("limit", {"type": "integer", "minimum": 1, "maximum": 1000})]},
                "post": {**_operation("importItems", "Store many items; the good lines stay", "catalogue",
                                      {200: _answer("Imported"), 422: _problem("No line is an item", "NotImported")},
                                      (400, 411, 413)),
                         "requestBody": _body("application/x-ndjson", {
                             "type": "string", "description": "One ItemRecord a line, at most 64 MiB"})},
            },
            "/api/users/{user}": {
                "parameters": [_in_path("user")],
                "get": _operation("exportUser", "Everything that is kept of a person", "admin",
                                  {200: _answer("UserExport")}, (422,)),
                "delete": _operation("forgetUser", "Erase a person", "admin", {200: _answer("Forgotten")}, (422,)),
            },
            "/api/runs": {"get": _operation("listRuns", "Reports of nightly runs, newest date first", "admin",
                                            {200: _answer("Runs")})},
            "/api/status": {"get": _operation("getStatus", "Counts, age of the lists, last runs", "admin",
                                              {200: _answer("Status")})},
            "/api/openapi.json": {"get": {
                "operationId": "getDescription", "summary": "This document", "security": [],
                "responses": {"200": {"description": "OK", "content": {"application/json": {
                    "schema": {"type": "object"}}}}}}},
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "catalogue": {"type": "http", "scheme": "bearer", "description": "worker token --api catalogue"},
                "admin": {"type": "http", "scheme": "bearer", "description": "worker token --api admin"},
            },
        },
    }


def _operation(name: str, summary: str, role: str, answers: Json | dict[int, Json],
               problems: tuple[int, ...] = ()) -> Json:
    """An operation that needs a role. ``problems`` adds to the errors that every operation has."""
    security: list[Json] = [{"admin": []}] if role == "admin" else [{role: []}, {"admin": []}]
    errors: dict[int, Json] = {status: _problem(_PROBLEMS[status]) for status in (*problems, 401, 403, 503)}
    responses = {str(status): answer for status, answer in sorted((errors | answers).items())}
    return {"operationId": name, "summary": summary, "security": security, "responses": responses}


def _answer(schema: str, description: str = "OK") -> Json:
    return {"description": description, "content": {"application/json": {"schema": reference(schema)}}}


def _problem(description: str, schema: str = "Problem") -> Json:
    return {"description": description, "content": {"application/problem+json": {"schema": reference(schema)}}}


def _body(media: str, schema: Json) -> Json:
    return {"required": True, "content": {media: {"schema": schema}}}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _ID}


def _in_query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema}
