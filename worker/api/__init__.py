"""The API for the site's own systems: the catalogue, people's data, runs and status (falcon, under gunicorn)."""

from __future__ import annotations

from typing import Any

import falcon
import orjson
from falcon.media import JSONHandler

from worker import config, credentials
from worker.api import problems
from worker.api.auth import Bearer
from worker.api.bodies import Drain
from worker.api.documents import Description
from worker.api.items import OneItem, SomeItems
from worker.api.operations import Runs, Status
from worker.api.request import Request
from worker.api.users import OneUser
from worker.credentials import Credentials
from worker.store.connect import Store
from worker.store.serving import serving_store


def create_app(store: Store, secrets: Credentials) -> falcon.App[Any, Any]:
    """The WSGI application on a store, for the tokens of ``secrets.api``."""
    app: falcon.App[Any, Any] = falcon.App(request_type=Request, middleware=[Drain(), Bearer(secrets.api)])
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSONHandler(dumps=orjson.dumps, loads=orjson.loads)
    problems.install(app)
    app.add_route("/api/items", SomeItems(store))
    app.add_route("/api/items/{item_id}", OneItem(store))
    app.add_route("/api/users/{user}", OneUser(store))
    app.add_route("/api/runs", Runs(store))
    app.add_route("/api/status", Status(store))
    app.add_route("/api/openapi.json", Description())
    return app


def get_app() -> falcon.App[Any, Any]:
    """The application of the run directory that the environment names: what gunicorn loads."""
    run = config.run_directory()
    secrets = credentials.load(run)
    return create_app(serving_store(run, config.load(run), secrets), secrets)
