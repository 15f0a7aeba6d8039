"""A request that does not tell the log whom it was about."""

from __future__ import annotations

from datetime import UTC, datetime

import falcon


class Request(falcon.Request):
    """Falcon's, but for what it writes to the server's log: the route for the address, and no query."""

    def log_error(self, message: str) -> None:
        """One line: when, method, route, message."""
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        route = self.uri_template or "(no such address)"
        self.env["wsgi.errors"].write(f"{when} [ERROR] {self.method} {route} => {message}\n")
