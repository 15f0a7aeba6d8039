"""Lua and Python build the same keys, buckets and expiries from the one definition in worker/keyspace.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import stack_parts, stack_render
from worker import credentials, keyspace
from worker.config import Settings
from worker.seen_set import live_mask

ROOT = Path(__file__).resolve().parents[1]

NGINX = """
@MODULES@
@USER@
worker_processes 1; daemon off; error_log stderr error; pid nginx.pid;
events { worker_connections 64; }
http {
    access_log off; lua_package_path "@ROOT@/lua/?.lua;;";
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi;
    scgi_temp_path scgi; uwsgi_temp_path uwsgi;
    client_max_body_size 8m; client_body_buffer_size 8m;
    init_by_lua_block { require("edge.config").load("@RUN@/config.json") }
    server { listen unix:@RUN@/keys.sock; location / { content_by_lua_file @RUN@/keys.lua; } }
}
"""

# Answers every call of a list with what the module returns, in order.
LUA = """
local cjson, keys = require("cjson"), require("edge.keys")
ngx.req.read_body()
local answers = {}
for i, call in ipairs(cjson.decode(ngx.req.get_body_data())) do
    answers[i] = keys[call[1]](unpack(call, 2))
end
ngx.print(cjson.encode(answers))
"""


class LuaKeys:
    """Calls functions of lua/edge/keys.lua inside a real nginx."""

    def __init__(self, run: Path) -> None:
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(run / "keys.sock")), base_url="http://lua")

    def __call__(self, *calls: tuple[Any, ...]) -> list[Any]:
        answers: list[Any] = self._client.post("/", content=json.dumps(calls)).raise_for_status().json()
        return answers


def start_nginx(run: Path, window_days: int) -> subprocess.Popen[bytes]:
    """An nginx that knows nothing but the keys module."""
    settings = Settings(window_days=window_days)
    stack_render.render_config(run, settings, credentials.ensure(run))
    user = stack_parts.nginx_user()
    values = {"RUN": str(run), "ROOT": str(ROOT), "MODULES": stack_parts.nginx_modules(),
              "USER": f"user {user};" if user else ""}
    (run / "nginx.conf").write_text(stack_render.render(NGINX, values, "nginx.conf"))
    (run / "keys.lua").write_text(LUA)
    command = [stack_parts.nginx_program(), "-p", str(run), "-e", "stderr", "-c", "nginx.conf"]
    return subprocess.Popen(command)


@pytest.fixture(scope="module", params=[60, 7], ids=lambda days: f"window of {days} days")
def lua(request: pytest.FixtureRequest) -> Iterator[tuple[LuaKeys, int]]:
    """The Lua keys, and the window that they were configured with."""
    run = Path(tempfile.mkdtemp(prefix="nf-"))
    nginx = start_nginx(run, request.param)
    try:
        while not (run / "keys.sock").exists():
            assert nginx.poll() is None, "nginx did not start"
        yield LuaKeys(run), request.param
    finally:
        nginx.terminate()
        nginx.wait()
        shutil.rmtree(run)


ODD_USERS = ["u7", "a", "-", "..", "::", "a:b:c", "~", "A-Z_0.9~:-", "x" * 128, "0", "1e5", "007", "-1", "{c}", "é"]
ids = st.text("ABCXYZabcxyz0189._~:-", min_size=1, max_size=128)
NOW = 1_763_740_000_123


def expected_calls(user: str, bucket: int, day: int) -> list[tuple[tuple[Any, ...], Any]]:
    """Each call of the Lua module with what Python says."""
    partition = keyspace.partition_of(user)
    return [
        (("partition", user), partition),
        (("seen", user), keyspace.user_key("seen", user)),
        (("acts", user, bucket), keyspace.user_key("acts", user, bucket)),
        (("searches", user), keyspace.user_key("searches", user)),
        (("list", user), keyspace.partition_key("list", partition)),
        (("users", partition), keyspace.partition_key("users", partition)),
        (("count", partition, day), keyspace.partition_key("count", partition, day)),
        (("day_expiry", day), keyspace.day_expiry(day)),
    ]


def assert_same(lua_keys: LuaKeys, pairs: list[tuple[tuple[Any, ...], Any]]) -> None:
    assert lua_keys(*[call for call, _ in pairs]) == [answer for _, answer in pairs]


@pytest.mark.parametrize("user", ODD_USERS)
def test_keys_of_odd_users_are_the_same(lua: tuple[LuaKeys, int], user: str) -> None:
    """Ids at the edges of what is allowed, and two that are not, land in the same partition and keys."""
    assert_same(lua[0], expected_calls(user, 1020, 20413))


@settings(max_examples=60)
@given(user=ids, ts=st.integers(0, 4_000_000_000_000), bucket=st.integers(0, 3000), day=st.integers(0, 60_000))
def test_keys_of_any_user_and_time_are_the_same(lua: tuple[LuaKeys, int], user: str, ts: int, bucket: int,
                                                day: int) -> None:
    """Keys, buckets and expiries agree for any id and moment."""
    lua_keys, window = lua
    assert_same(lua_keys, [
        *expected_calls(user, bucket, day),
        (("bucket_of", ts), keyspace.bucket_of(ts)),
        (("day_of", ts), ts // keyspace.DAY_MS),
        (("live_buckets", ts), keyspace.live_buckets(ts, window)),
        (("live_mask", ts), live_mask(keyspace.live_buckets(ts, window))),
        (("bucket_expiry", bucket, user), keyspace.bucket_expiry(bucket, window, user)),
    ])


def test_every_shared_key_is_the_same(lua: tuple[LuaKeys, int]) -> None:
    """Each shared key of the definition, with as many parts as it has."""
    shared = [kind for kind in keyspace.KINDS.values() if kind.tag == "shared"]
    parts = {kind.name: [17] * len(kind.parts) for kind in shared}
    assert_same(lua[0], [(("shared", name, *given), keyspace.key(name, *given)) for name, given in parts.items()])


def test_known_keys() -> None:
    """Worked out by hand: CRC-32 of "u7" is 0xAB2C3A43, whose last six bits are 000011."""
    assert keyspace.partition_of("u7") == 3
    assert keyspace.user_key("seen", "u7") == "seen:{3}:u7"
    assert keyspace.user_key("acts", "u7", 2041) == "acts:{3}:2041:u7"
    assert keyspace.key("pool", 3) == "pool:{c}:3"


def test_live_buckets_cover_the_window_and_what_is_ahead(lua: tuple[LuaKeys, int]) -> None:
    """Day 20413 is in bucket 2041 (20413 // 10); 60 days before is day 20353 in 2035, 7 days before 20406 in 2040.
    Their codes, modulo 32, are 25 and down to 19, or to 24."""
    lua_keys, window = lua
    known = {60: [2041, 2040, 2039, 2038, 2037, 2036, 2035], 7: [2041, 2040]}
    masks = {60: 0b11_1111_1000_0000_0000_0000_0000, 7: 0b11_0000_0000_0000_0000_0000_0000}
    assert lua_keys(("live_buckets", NOW)) == [known[window]]
    assert lua_keys(("live_mask", NOW)) == [masks[window]]
    minutes_before_2042 = 2042 * 10 * keyspace.DAY_MS - 60_000
    assert lua_keys(("live_buckets", minutes_before_2042))[0][0] == 2042
