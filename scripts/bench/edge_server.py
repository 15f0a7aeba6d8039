"""nginx of the private stack, with a second port that gives a fixed body: what /feed could be at best."""

from __future__ import annotations

import http.client
import re
import time

from scripts import stack_parts
from scripts.bench.edge_page import PATH, Page
from scripts.bench.private_stack import PrivateStack, free_port
from scripts.bench.processes import descendants
from scripts.stack_process import StackError

READY_SECONDS = 20
CATALOGUE_SECONDS = 1.5  # each worker of nginx reads the catalogue
PIECE = 3000  # nginx takes no word of its configuration that is longer than 4,096 bytes
METRIC = re.compile(r'^nightfeed_requests_total\{route="(\w+)",status="(\d+)"\} (\d+)$', re.MULTILINE)

SERVER = """
{pieces}
server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_timeout 65s;
    keepalive_requests 10000;
    access_log off;
    location = /feed {{
        default_type {type};
        {headers}
        return 200 "{names}";
    }}
}}
"""


class Server:
    """nginx with a number of workers; with a fixed body on ``fixed_port`` once ``page`` is set."""

    def __init__(self, stack: PrivateStack) -> None:
        self._stack = stack
        self.fixed_port = free_port()
        self.page: Page | None = None

    def start(self, workers: int, **settings: object) -> None:
        """Have it run with so many workers, all of them ready."""
        self._stack.edge(nginx_workers=workers, **settings)
        if self.page is not None:
            self._add_fixed(self.page)
        deadline = time.monotonic() + READY_SECONDS
        while len(self.pids()) != workers + 1 or not self._answers():
            if time.monotonic() > deadline:
                raise StackError(f"nginx is not ready after {READY_SECONDS} s, with {len(self.pids()) - 1} workers "
                                 f"instead of {workers}: {stack_parts.nginx_part(self._stack.run).tail()}")
            time.sleep(0.05)
        time.sleep(CATALOGUE_SECONDS)

    def pids(self) -> list[int]:
        """nginx's processes, the master first."""
        master = stack_parts.nginx_part(self._stack.run).pid()
        if master is None:
            raise StackError(f"nginx has ended: {stack_parts.nginx_part(self._stack.run).tail()}")
        return descendants(master)

    def answers(self) -> dict[tuple[str, int], int]:
        """How many requests nginx has answered, by route and status; none of /healthz."""
        status, text = get(self._stack.port, "/metrics")
        if status != 200:
            raise StackError(f"/metrics answers {status}")
        return {(route, int(code)): int(count) for route, code, count in METRIC.findall(text)}

    def _add_fixed(self, page: Page) -> None:
        file, nginx = self._stack.run / "nginx/edge.conf", stack_parts.nginx_part(self._stack.run)
        file.write_text(file.read_text() + configuration(page, self.fixed_port))
        stack_parts.check_nginx(self._stack.run)
        nginx.reload()

    def _answers(self) -> bool:
        try:
            return self.page is None or get(self.fixed_port, PATH)[1] == plain(self.page.body)
        except OSError:
            return False


def configuration(page: Page, port: int) -> str:
    """A server that gives the page's body with its headers, but for characters that mean something to nginx."""
    body = plain(page.body)
    parts = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    pieces = "\n".join(f'map "" $bench_piece_{i} {{ default "{part}"; }}' for i, part in enumerate(parts))
    headers = "\n        ".join(f'add_header {name} "{plain(value)}";' for name, value in page.headers)
    names = "".join(f"$bench_piece_{i}" for i in range(len(parts)))
    return SERVER.format(pieces=pieces, port=port, type=page.type, headers=headers, names=names)


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
