"""A stack for one benchmark: in a temporary run directory, and gone with all it wrote when the benchmark ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts import stack, stack_parts, stack_render
from scripts.stack_render import ROOT
from worker import config, credentials
from worker.store.connect import Store, load_functions, open_store

START_SECONDS = 60
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PrivateStack:
    """Redis alone, until ``edge()`` starts the rest. Its settings are in its own nightfeed.toml."""

    def __init__(self, **settings: Any) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="nf-bench-"))
        self.port = free_port()
        values = {"port": self.port, "rate_limit": "off", **settings}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        (self.run / "nightfeed.toml").write_text("\n".join(lines) + "\n")
        self.store: Store

    def __enter__(self) -> PrivateStack:
        try:
            self._start_redis()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._remove()

    def environ(self, **settings: Any) -> dict[str, str]:
        """The environment of this stack's commands; ``settings`` go over those of its file."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(config.PREFIX)}
        named = {config.PREFIX + name.upper(): str(value) for name, value in settings.items()}
        return {**outside, "NIGHTFEED_RUN": str(self.run), **named}

    def edge(self) -> None:
        """Start nginx and the API, too."""
        stack.up(self.run, self.environ())

    def redis_pid(self) -> int:
        """The process of its Redis."""
        pid = stack_parts.redis_part(self.run).pid()
        assert pid is not None, "the private Redis has ended: see its log"
        return pid

    def _start_redis(self) -> None:
        settings = config.load(self.run, self.environ())
        stack_parts.check_redis()
        stack_render.check_paths(self.run)
        stack_render.make_folders(self.run)
        stack_render.render_redis(self.run, settings, credentials.ensure(self.run))
        part = stack_parts.redis_part(self.run)
        part.start(self.environ(), stack_parts.probe(part, settings.listen, settings.port), START_SECONDS)
        self.store = open_store(self.run, settings)
        load_functions(self.store.redis, ROOT / "lua/redis")

    def _remove(self) -> None:
        """Stop what runs and delete the run directory; a second Ctrl-C does not leave half of it behind."""
        kept = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        try:
            for part in reversed(stack_parts.parts(self.run)):
                part.stop()
        finally:
            shutil.rmtree(self.run, ignore_errors=True)
            for number, handler in kept.items():
                signal.signal(number, handler)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
