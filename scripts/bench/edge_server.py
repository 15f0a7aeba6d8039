"""nginx of the private stack, with two more ports that give a fixed body: what /feed could be at best."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from typing import cast

from scripts import stack, stack_parts
from scripts.bench.edge_page import Page
from scripts.bench.private_stack import PrivateStack, free_port
from scripts.bench.processes import descendants
from scripts.stack_process import StackError
from worker import config, keyspace

READY_SECONDS = 60
COMPLAINTS = 10
PIECE = 3000  # nginx takes no word of its configuration that is longer than 4,096 bytes
METRIC = re.compile(r'^nightfeed_requests_total\{route="(\w+)",status="(\d+)"\} (\d+)$', re.MULTILINE)
VERSION = re.compile(r'^nightfeed_catalogue_version\{worker="\d+"\} (\d+)$', re.MULTILINE)

SERVERS = """
{pieces}
server {{
    listen 127.0.0.1:{memory_port} backlog=4096;
    keepalive_timeout 65s;
    keepalive_requests 10000;
    access_log off;
    location = /feed {{
        default_type {type};
        {headers}
        return 200 "{names}";
    }}
}}
server {{
    listen 127.0.0.1:{file_port} backlog=4096;
    keepalive_timeout 65s;
    keepalive_requests 10000;
    access_log off;
    location = /feed {{
        default_type {type};
        {headers}
        alias {file};
    }}
}}
"""


class Server:
    """nginx with a number of workers; once ``page`` is set, with a fixed body out of its memory and out of a file."""

    def __init__(self, stack: PrivateStack) -> None:
        self._stack = stack
        self.memory_port, self.file_port = free_port(), free_port()
        self.page: Page | None = None

    def start(self, workers: int, **settings: object) -> None:
        """Start it anew, with so many workers, and wait until each of them knows the catalogue."""
        run, environ = self._stack.run, self._stack.environ(nginx_workers=workers, **settings)
        nginx, values = stack_parts.nginx_part(run), config.load(run, environ)
        nginx.stop()
        stack.render(run, values)
        if self.page is not None:
            self._add_fixed(self.page)
            stack_parts.check_nginx(run)
        nginx.start(environ, stack_parts.probe(nginx, values.listen, values.port), READY_SECONDS)
        nginx.wait(lambda: self._ready() == workers, READY_SECONDS)

    def _add_fixed(self, page: Page) -> None:
        run = self._stack.run
        body, routes = run / "bench-page", run / "nginx/edge.conf"
        body.write_text(plain(page.body))
        body.chmod(0o644)
        routes.write_text(routes.read_text() + configuration(page, self.memory_port, self.file_port, body))

    def _ready(self) -> int:
        """How many workers have the catalogue's newest version."""
        version = int(cast("bytes | None", self._stack.store.redis.get(keyspace.key("version"))) or 0)
        return [int(known) for known in VERSION.findall(get(self._stack.port, "/metrics")[1])].count(version)

    def pids(self) -> list[int]:
        """nginx's processes, the master first."""
        master = stack_parts.nginx_part(self._stack.run).pid()
        if master is None:
            raise StackError(f"nginx has ended: {stack_parts.nginx_part(self._stack.run).tail()}")
        return descendants(master)

    def complaints(self) -> list[str]:
        """The last lines of its error log."""
        lines = (self._stack.run / "log/nginx-error.log").read_text(errors="replace").splitlines()
        return [line for line in lines if "[notice]" not in line][-COMPLAINTS:]

    def answers(self) -> dict[tuple[str, int], int]:
        """How many requests nginx has answered, by route and status; none of /healthz."""
        status, text = get(self._stack.port, "/metrics")
        if status != 200:
            raise StackError(f"/metrics answers {status}")
        return {(route, int(code)): int(count) for route, code, count in METRIC.findall(text)}


def configuration(page: Page, memory_port: int, file_port: int, file: Path) -> str:
    """Servers that give the page's body with its headers: from the configuration, but for characters that mean
    something there, and from a file."""
    body = plain(page.body)
    parts = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    pieces = "\n".join(f'map "" $bench_piece_{i} {{ default "{part}"; }}' for i, part in enumerate(parts))
    headers = "\n        ".join(f'add_header {name} "{plain(value)}";' for name, value in page.headers)
    names = "".join(f"$bench_piece_{i}" for i in range(len(parts)))
    return SERVERS.format(pieces=pieces, memory_port=memory_port, file_port=file_port, file=file, type=page.type,
                          headers=headers, names=names)


def plain(text: str) -> str:
    """As long as ``text``, in bytes, and nothing in it that a quoted word of nginx's configuration reads otherwise."""
    return re.sub(rb'[\x00-\x1f"\\$\x7f-\xff]', b"'", text.encode()).decode()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
