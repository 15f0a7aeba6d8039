"""The three parts of a stack: how each is started, what says that it answers, and how it is stopped."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from scripts.stack_process import Daemon, StackError
from scripts.stack_render import ROOT
from worker import credentials

# Debian keeps servers where the PATH of an ordinary user does not look.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
REDIS_FLOOR = 7
PROBE_SECONDS = 2


def redis_part(run: Path) -> Daemon:
    """Redis. SIGTERM makes it write everything down; with much data that takes a while."""
    conf, users = run / "redis/redis.conf", run / "redis/users.acl"
    command = [_program("redis-server"), str(conf)]
    # It logs this for each command of its append-only file that it leaves out.
    return Daemon("redis", run, command, ((SIGTERM, 120),), reads=(conf, users), alarm="== CRITICAL ==")


def api_part(run: Path, workers: int = 1) -> Daemon:
    """The admin API: falcon under gunicorn, in the Python that runs this."""
    command = [
        sys.executable, "-m", "gunicorn", "worker.api:get_app()",
        "--config", str(ROOT / "scripts/gunicorn.conf.py"),
        "--bind", f"unix:{run}/sock/api.sock",
        # The socket is 0660; this concerns nothing else.
        "--umask", "0117",
        "--workers", str(workers),
    ]  # fmt: skip
    return Daemon("api", run, command, ((SIGTERM, 35), (SIGINT, 10)), (*_shared(run), *ROOT.glob("worker/**/*.py")))


def nginx_part(run: Path) -> Daemon:
    """nginx. SIGQUIT lets running requests end."""
    rendered = (run / "nginx" / name for name in ("nginx.conf", "edge.conf", "cors.conf"))
    reads = (*_shared(run), *rendered, *ROOT.glob("lua/edge/*.lua"))
    return Daemon("nginx", run, [*nginx_command(run), "-g", "daemon off;"], ((SIGQUIT, 15), (SIGTERM, 15)), reads)


def _shared(run: Path) -> tuple[Path, ...]:
    """What nginx and the API both take in when they start."""
    return run / "config.json", *(run / "secrets" / name for name in ("tokens.json", "api.json"))


def parts(run: Path, api_workers: int = 1) -> list[Daemon]:
    """All parts in the order in which they start."""
    return [redis_part(run), api_part(run, api_workers), nginx_part(run)]


def nginx_command(run: Path, log: str = "") -> list[str]:
    """nginx on the run directory's configuration; errors before that is read go to ``log``."""
    return [nginx_program(), "-p", f"{run}/nginx/", "-e", log or f"{run}/log/nginx-error.log", "-c", "nginx.conf"]


def nginx_program() -> str:
    """OpenResty when there is one, else nginx."""
    return shutil.which("openresty", path=SEARCH) or _program("nginx")


def nginx_modules() -> str:
    """``load_module`` lines for an nginx whose Lua module is a file of its own, as Debian's is; else nothing."""
    program = nginx_program()
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    if "ngx_lua" in built or "openresty" in built:
        return ""
    match = re.search(r"--modules-path=(\S+)", built)
    folder = Path(match[1]) if match else Path("/usr/lib/nginx/modules")
    files = [folder / name for name in ("ndk_http_module.so", "ngx_http_lua_module.so")]
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise StackError(f"{program} has no Lua: {', '.join(missing)} is missing. Install libnginx-mod-http-lua "
                         "(make does it), or put OpenResty on the PATH")
    return "\n".join(f"load_module {file};" for file in files)


def nginx_user() -> str:
    """Whom nginx's workers are to run as when root starts it: the same user, who can read the run directory."""
    return pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else ""


def check_nginx(run: Path) -> None:
    """Raises StackError with nginx's own message when it refuses the configuration."""
    test = subprocess.run([*nginx_command(run, "stderr"), "-t", "-q"], capture_output=True, text=True, check=False)
    if test.returncode != 0:
        raise StackError(f"nginx refuses its configuration in {run}/nginx:\n{test.stderr.strip()}")


def check_redis() -> None:
    """Raises StackError for a Redis that has no functions."""
    shown = subprocess.run([_program("redis-server"), "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)", shown)
    if match and int(match[1]) < REDIS_FLOOR:
        raise StackError(f"Redis {REDIS_FLOOR} or newer is needed; redis-server is: {shown.strip()}")


def check_port(address: str, port: int) -> None:
    """Raises StackError when ``port`` cannot be listened on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            raise StackError(f"port {port} of {address} cannot be used ({error.strerror}): stop what listens there, "
                             f"or choose another one: make up PORT={port + 1 if port < 65535 else 8081}") from error


def probe(part: Daemon, address: str, port: int) -> Callable[[], bool]:
    """What says whether a part answers."""
    probes: dict[str, Callable[[], bool]] = {
        "redis": lambda: redis_answers(part.run),
        "api": lambda: api_answers(part.run),
        "nginx": lambda: nginx_answers(address, port),
    }
    return probes[part.name]


def redis_client(run: Path) -> redis.Redis:
    """The run directory's Redis as the worker; one attempt, no patience."""
    return redis.Redis(
        unix_socket_path=str(run / "sock/redis.sock"), username="worker",
        password=credentials.load(run).redis["worker"], socket_timeout=PROBE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )  # fmt: skip


def redis_answers(run: Path) -> bool:
    """Whether Redis answers PING: it has read its data and lets the worker in."""
    try:
        with redis_client(run) as client:
            return bool(client.ping())
    except (redis.RedisError, credentials.CredentialsError):
        return False


def api_answers(run: Path) -> bool:
    """Whether gunicorn answers on its socket, with whatever status: without a token it refuses."""
    return _status(_UnixConnection(str(run / "sock/api.sock")), "/api/status") is not None


def nginx_answers(address: str, port: int) -> bool:
    """Whether nginx answers /healthz."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return _status(http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS), "/healthz") == 200


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PROBE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _status(connection: http.client.HTTPConnection, path: str) -> int | None:
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCH)
    if found is None:
        raise StackError(f"{name} is not installed: make installs it, or apt-get install "
                         f"{'nginx libnginx-mod-http-lua' if name == 'nginx' else name}")
    return found
