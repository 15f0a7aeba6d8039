"""Starts, stops and shows one stack: Redis, the API and nginx on one run directory. `make up` calls it.

python scripts/stack.py up --run run --port 8080
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from redis.exceptions import RedisError

from scripts import redis_log, stack_parts, stack_render
from scripts.stack_guards import all_or_nothing, locked
from scripts.stack_process import Daemon, StackError
from scripts.stack_render import ROOT
from worker import config, credentials
from worker.config import ConfigError, Settings
from worker.credentials import CredentialsError
from worker.store.connect import load_functions

LOADING_SECONDS = 600  # Redis reads all its data before it answers
START_SECONDS = 60


def up(run: Path, environ: dict[str, str]) -> str:
    """Start what does not run yet, apply a changed configuration, and wait until all of it answers."""
    settings = _settings(run, environ)
    stack_render.check_paths(run)
    stack_render.make_folders(run)
    with locked(run):
        parts = stack_parts.parts(run, settings.api_workers)
        ran = [part for part in parts if part.pid() is not None]
        _check_port(run, settings)
        render(run, settings)
        with all_or_nothing() as started:
            for part in parts:
                _up_part(part, settings, {**environ, "NIGHTFEED_RUN": str(run)}, started)
    state = "was up already" if len(ran) == len(parts) else "is up"
    return f"Nightfeed {state}: {url(settings)} (run directory {run})"


def _settings(run: Path, environ: dict[str, str]) -> Settings:
    """The settings in effect. Where nothing names a port, a running stack keeps the one it has."""
    settings = config.load(run, environ)
    file = config.config_file(run, environ)
    named = "NIGHTFEED_PORT" in environ or (file is not None and "port" in tomllib.loads(file.read_text()))
    if named or stack_parts.nginx_part(run).pid() is None:
        return settings
    return dataclasses.replace(settings, port=listens_on(run)[1])


def _check_port(run: Path, settings: Settings) -> None:
    """The port must be free, unless it is our own nginx that has it."""
    nginx = stack_parts.nginx_part(run)
    nginx.sweep()
    if nginx.pid() is None or listens_on(run) != (settings.listen, settings.port):
        stack_parts.check_port(settings.listen, settings.port)


def render(run: Path, settings: Settings) -> None:
    """Write every file that the parts read, and have it checked before anything starts."""
    stack_parts.check_redis()
    secrets = credentials.ensure(run)
    stack_render.render_config(run, settings, secrets)
    stack_render.render_redis(run, settings, secrets)
    stack_render.render_nginx(run, settings, stack_parts.nginx_modules(), stack_parts.nginx_user())
    stack_parts.check_nginx(run)


def _up_part(part: Daemon, settings: Settings, environ: dict[str, str], started: list[Daemon]) -> None:
    """Start one part, or give a running one its new files, and wait until it answers."""
    ready = stack_parts.probe(part, settings.listen, settings.port)
    if part.pid() is None:
        started.append(part)
        if part.name == "redis" and (cut := redis_log.mend(part.run / "redis/appendonlydir")):
            print(f"Redis's log ended in a transaction cut short: its {cut} bytes were removed", file=sys.stderr)
        part.start(environ, ready, LOADING_SECONDS if part.name == "redis" else START_SECONDS)
    elif part.outdated() and part.name == "redis":
        print("Redis keeps the configuration it was started with: make down, then make up", file=sys.stderr)
    elif part.outdated():
        part.reload()
        part.wait(ready, START_SECONDS)
    if part.name == "redis":
        with stack_parts.redis_client(part.run) as client:
            load_functions(client, ROOT / "lua/redis")


def down(run: Path) -> str:
    """Stop every part that runs, the entrance first. Harmless when nothing runs."""
    if not (run / "pid").is_dir():
        return f"Nothing runs in {run}"
    with locked(run):
        stopped = [part.name for part in reversed(stack_parts.parts(run)) if part.stop()]
    return f"Nightfeed is down: {', '.join(stopped)} stopped" if stopped else f"Nothing runs in {run}"


def status(run: Path) -> list[dict[str, object]]:
    """One row a part: name, pid, since (Unix s) and whether it answers."""
    listen, port = listens_on(run)
    rows: list[dict[str, object]] = []
    for part in stack_parts.parts(run):
        pid = part.pid()
        answers = pid is not None and stack_parts.probe(part, listen, port)()
        rows.append({"part": part.name, "pid": pid, "since": part.since(), "answers": answers})
    return rows


def check_config() -> str:
    """Render the configuration into a directory of its own and let nginx check it: part of `make lint`."""
    folder = Path(tempfile.mkdtemp(prefix="nightfeed-"))
    try:
        stack_render.make_folders(folder)
        render(folder, Settings())
    finally:
        shutil.rmtree(folder)
    return "nginx accepts the rendered configuration"


def url(settings: Settings) -> str:
    """The address of the edge."""
    return f"http://{stack_render.bracketed(settings.listen)}:{settings.port}"


def listens_on(run: Path) -> tuple[str, int]:
    """Address and port in the configuration that was rendered last; port 0 when none was."""
    path = run / "config.json"
    if not path.exists():
        return "127.0.0.1", 0
    rendered = json.loads(path.read_text())
    return str(rendered["listen"]), int(rendered["port"])


def _show(rows: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        if row["pid"] is None:
            print(f"{row['part']:6} not running")
            continue
        since = datetime.fromtimestamp(float(str(row["since"] or 0)), UTC)
        state = "answers" if row["answers"] else "does not answer"
        print(f"{row['part']:6} {state:16} pid {row['pid']}, since {since:%Y-%m-%d %H:%M:%S} UTC")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Starts, stops and shows one stack.")
    parser.add_argument("action", choices=("up", "down", "status", "check-config"))
    parser.add_argument("--run", type=Path, default=config.run_directory(),
                        help="the run directory (default: NIGHTFEED_RUN, or run)")
    parser.add_argument("--port", help="port of the edge, over the configured one")
    parser.add_argument("--json", action="store_true", help="status as one JSON array")
    return parser.parse_args(argv)


def _act(options: argparse.Namespace) -> int:
    run = options.run.absolute()
    if options.action == "status":
        rows = status(run)
        _show(rows, options.json)
        return 0 if all(row["answers"] for row in rows) else 1
    if options.action == "up":
        port = {"NIGHTFEED_PORT": options.port} if options.port else {}
        print(up(run, {**os.environ, **port}))
    else:
        print(down(run) if options.action == "down" else check_config())
    return 0


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 with a message when it failed, 128 + n when signal n ended it."""
    os.umask(0o027)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        return _act(_arguments(argv))
    except (StackError, ConfigError, CredentialsError, RedisError, OSError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
