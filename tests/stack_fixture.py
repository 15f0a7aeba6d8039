"""A real stack in a temporary run directory, and what tests do with it. The fixtures are in conftest.py."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import redis

from scripts import stack_parts
from scripts.stack_process import Daemon
from worker import config, credentials, tokens
from worker.config import Settings

ROOT = Path(__file__).resolve().parents[1]
STACK = ROOT / "scripts/stack.py"
WORKER = Path(sys.executable).with_name("worker")
LOUD = re.compile(r"\[(warn|error|crit|alert|emerg)\]")
PATIENCE_S = 60  # a busy machine may take long for what a test waits for
SYNCED = re.compile(r'^nightfeed_synced_timestamp_seconds\{worker="\d+"\} ([\d.]+)$', re.MULTILINE)
# A busy machine may be away for longer than the default: what tests look for is not how long that is.
DEFAULTS: dict[str, Any] = {"rate_limit": "off", "nginx_workers": 2, "redis_timeout_ms": 3000}
SHORT_MS = 500  # the timeout where a test stops Redis time and again
REDIS_AWAY = r"failed to ask Redis|cannot follow Redis|redis\.sock|(send|recv|connect)\(\)"  # what the edge logs then


class Stack:
    """One running stack. ``redis`` is its Redis as the worker, ``http`` a client of its edge without cookies."""

    def __init__(self, **settings: Any) -> None:
        # Not pytest's own folder: a socket's path has room for 107 bytes.
        self.run = Path(tempfile.mkdtemp(prefix="nf-"))
        self.port = free_port()
        self._expected: list[re.Pattern[str]] = []
        self._scanned = 0
        self.configure(**{**DEFAULTS, **settings})

    def configure(self, **settings: Any) -> None:
        """Replace the settings; a running stack takes them at the next ``up``."""
        values = {"port": self.port, **settings}
        lines = (f"{name} = {json.dumps(value)}" for name, value in values.items())
        (self.run / "nightfeed.toml").write_text("\n".join(lines) + "\n")

    def up(self) -> Stack:
        """Start what does not run and wait until it answers."""
        self.script("up")
        self.settings: Settings = config.load(self.run, {})
        self.url = f"http://127.0.0.1:{self.port}"
        self.credentials = credentials.load(self.run)
        self.redis: redis.Redis = redis.Redis(
            unix_socket_path=str(self.run / "sock/redis.sock"), username="worker",
            password=self.credentials.redis["worker"],
        )  # fmt: skip
        self.http = self._client()
        return self

    def close(self) -> None:
        """Stop everything and remove the run directory."""
        self.script("down")
        if hasattr(self, "http"):
            self.http.close()
            self.redis.close()
        shutil.rmtree(self.run)

    def _client(self, kept: int = 20) -> httpx.Client:
        """``kept``: connections that are used again."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=kept))

    def reload(self) -> None:
        """Have nginx start new workers. The old ones close connections at any moment, so none is kept from here on."""
        self.http.close()
        self.http = self._client(kept=0)
        self.signal("nginx", signal.SIGHUP)

    def script(self, action: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``python scripts/stack.py <action>`` on this stack."""
        return finished(self.command(action, *args), self.environ(), check)

    def command(self, action: str, *args: str) -> list[str]:
        """The command line of that."""
        return [sys.executable, str(STACK), action, "--run", str(self.run), *args]

    def environ(self) -> dict[str, str]:
        """The environment of this stack's commands: no settings but those of its own file."""
        return {**clean_environ(), "NIGHTFEED_RUN": str(self.run)}

    def worker(self, *args: str, input: str | None = None, check: bool = True,
               env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The ``worker`` command on this stack."""
        return finished([str(WORKER), *args], {**self.environ(), **(env or {})}, check, input)

    def heal(self) -> None:
        """Undo what a test did to the processes: all of them run and answer again."""
        for part in self.parts():
            part.resume()
        if any(part.pid() is None for part in self.parts()):
            self.script("up")

    def empty(self) -> None:
        """Forget all data. The functions stay; this Redis was started here and is nobody else's."""
        self.redis.flushall()
        # The edge may be in the middle of reading the catalogue, or of a generation.
        self.expect_log("it shrank meanwhile|failed to read generation")

    # --- data ---------------------------------------------------------------------------------------------------

    def token(self, user: str) -> str:
        """A signed token for ``user``."""
        return tokens.sign(self.credentials.keyring, user, int(time.time()))

    def bearer(self, user: str) -> dict[str, str]:
        """Headers that speak for ``user``."""
        return {"Authorization": f"Bearer {self.token(user)}"}

    @staticmethod
    def item(id: str, **changes: Any) -> dict[str, Any]:
        """A valid item record: evergreen, posted two days ago; ``changes`` go over it."""
        posted = datetime.now(UTC) - timedelta(days=2)
        record = {"id": id, "category": "general", "kind": "evergreen", "posted_at": f"{posted:%Y-%m-%dT%H:%M:%SZ}",
                  "data": {"title": f"Title of {id}"}}
        return {**record, **changes}

    def import_items(self, records: Iterable[dict[str, Any]]) -> None:
        """Put records into the catalogue and wait until every nginx worker knows of it."""
        self.worker("items", "import", "-", input="".join(json.dumps(record) + "\n" for record in records))
        self.sync()

    def sync(self) -> None:
        """Wait until every nginx worker knows all that Redis says by now: the catalogue, the generation."""
        now = time.time()
        self.until(lambda: len(rounds := self._rounds()) >= self.settings.nginx_workers and min(rounds) > now)

    def _rounds(self) -> list[float]:
        """When each nginx worker last asked Redis for what changed."""
        return [float(at) for at in SYNCED.findall(self.http.get("/metrics").text)]

    def beacon(self, user: str, events: list[dict[str, Any]], **kw: Any) -> httpx.Response:
        """POST events as ``user``; one without a ``ts`` happened now. ``kw`` goes to httpx."""
        now = int(time.time() * 1000)
        body = json.dumps({"events": [{"ts": now, **event} for event in events]})
        headers = {**self.bearer(user), **kw.pop("headers", {})}
        return self.http.post("/beacon", content=body, headers=headers, **kw)

    def feed(self, user: str, n: int = 20, cursor: str | None = None) -> dict[str, Any]:
        """One page of ``user``'s feed."""
        params: dict[str, int | str] = {"n": n, **({"cursor": cursor} if cursor else {})}
        answer = self.http.get("/feed", params=params, headers=self.bearer(user))
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    # --- processes ----------------------------------------------------------------------------------------------

    def parts(self) -> list[Daemon]:
        """Redis, the API and nginx."""
        return stack_parts.parts(self.run)

    def part(self, name: str) -> Daemon:
        """One of them by name."""
        return next(part for part in self.parts() if part.name == name)

    def signal(self, process: str, sig: signal.Signals) -> None:
        """Send a signal to the main process of "nginx", "redis" or "api"."""
        pid = self.part(process).pid()
        assert pid is not None, f"{process} does not run"
        os.kill(pid, sig)

    def restart(self, process: str) -> None:
        """Stop one process in order and start it again."""
        self.part(process).stop()
        self.script("up")

    @staticmethod
    def until(predicate: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
        """Wait until ``predicate()`` is true, and return what it gave. ``seconds``: where a time is promised."""
        deadline = time.monotonic() + seconds
        while not (result := predicate()):
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            time.sleep(0.02)
        return result

    @classmethod
    def settles(cls, read: Callable[[], Any], expected: Any) -> None:
        """``read()`` gives what is expected within 2 s: nginx counts a request when its answer is on its way already.

        What is counted too often stays wrong.
        """
        with contextlib.suppress(AssertionError):
            cls.until(lambda: read() == expected, 2)
        assert read() == expected

    # --- logs ---------------------------------------------------------------------------------------------------

    def expect_log(self, pattern: str) -> None:
        """This test provokes error-log lines that match ``pattern``."""
        self._expected.append(re.compile(pattern))

    def unexpected_log(self) -> list[str]:
        """Lines of level warn or worse since the last call that no test announced; forgets the announcements."""
        log = self.run / "log/nginx-error.log"
        text = log.read_bytes()[self._scanned:] if log.exists() else b""
        self._scanned += len(text)
        loud = [line for line in text.decode(errors="replace").splitlines() if LOUD.search(line)]
        expected, self._expected = self._expected, []
        return [line for line in loud if not any(pattern.search(line) for pattern in expected)]

    def log_tails(self) -> str:
        """The last lines of every part's log."""
        return "\n".join(part.tail() for part in self.parts())


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environ() -> dict[str, str]:
    """The environment without Nightfeed's settings."""
    kept = {"NIGHTFEED_KUAIRAND", "NIGHTFEED_VENV"}
    return {name: value for name, value in os.environ.items() if not name.startswith(config.PREFIX) or name in kept}


def finished(command: list[str], environ: dict[str, str], check: bool = True,
             input: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with ``check``, a failure shows what it printed."""
    done = subprocess.run(command, env=environ, input=input, capture_output=True, text=True, cwd=ROOT, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


