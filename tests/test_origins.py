"""The setting allowed_origins: what browsers could send is taken, anything else is refused at the start, by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import config, origins
from worker.config import ConfigError, Settings

GOOD = [
    "https://www.example.org", "http://example.org", "http://localhost:3000", "https://example.org:8443",
    "http://127.0.0.1:8080", "http://[::1]:8080", "https://xn--bcher-kva.example", "https://a_b.example",
    "https://example.org:65535", "http://example.org:443", "https://example.org:80", "capacitor://localhost",
    "chrome-extension://abcdefghijklmnop",
]  # fmt: skip
BAD = {
    "*": "name each origin", "null": "scheme://host", "https://example.org/": "scheme://host",
    "https://example.org/page": "scheme://host", "https://Example.org": "small letters", "example.org": "scheme://host",
    "HTTPS://example.org": "small letters", "https://": "scheme://host", "//example.org": "scheme://host",
    "https://*.example.org": "scheme://host", "https://example.org:": "scheme://host",
    "https://example.org:0": "scheme://host", "https://example.org:65536": "scheme://host",
    "https://example.org:443": "leave out :443", "http://example.org:80": "leave out :80",
    "https://user@example.org": "scheme://host", "https://bücher.example": "scheme://host",
    "https://example.org.": "scheme://host", "https://a..b": "scheme://host", 'https://a";': "scheme://host",
    "https://a$host": "scheme://host", "https://" + "a" * 300: "scheme://host", "https://example.org?x": "scheme://host",
    "https://example.org#x": "scheme://host", "file://": "scheme://host",
}  # fmt: skip


@pytest.mark.parametrize("origin", GOOD)
def test_an_origin_as_browsers_send_it_is_taken(origin: str) -> None:
    """With any scheme: apps have pages of their own."""
    assert origins.problem(origin) is None


@pytest.mark.parametrize("origin", BAD)
def test_what_no_browser_would_send_is_refused_with_what_to_write(tmp_path: Path, origin: str) -> None:
    """It would match nothing, in silence."""
    assert BAD[origin] in str(origins.problem(origin))
    with pytest.raises(ConfigError, match=r"^allowed_origins: ") as caught:
        config.load(tmp_path, {"NIGHTFEED_ALLOWED_ORIGINS": f"https://fine.example, {origin}"})
    assert repr(origin) in str(caught.value)


@given(st.text(alphabet="htps:/.-_[]a1*\"';{}$\\ \n#", max_size=30) | st.from_regex(r"[a-z]+://\S+", fullmatch=True))
def test_what_is_taken_means_nothing_to_nginx(text: str) -> None:
    """It stands between quotes in its configuration."""
    assert origins.problem(text) is not None or re.fullmatch(r"[a-z0-9+.:/\[\]_-]{1,300}", text)


def configured(tmp_path: Path, line: str) -> Settings:
    """The settings of a file with this line."""
    (tmp_path / "nightfeed.toml").write_text(line + "\n")
    return config.load(tmp_path, {})


@pytest.mark.parametrize("value", [
    '"https://a.example,http://b.example:81"', '"https://a.example, http://b.example:81"',
    '["https://a.example", "http://b.example:81"]', '["https://a.example", "http://b.example:81", "https://a.example"]',
])
def test_several_are_an_array_or_text_with_commas(tmp_path: Path, value: str) -> None:
    """Each counts once, in order; a variable has commas."""
    settings = configured(tmp_path, f"allowed_origins = {value}")
    assert origins.split(settings.allowed_origins) == ["https://a.example", "http://b.example:81"]


def test_none_are_the_default(tmp_path: Path) -> None:
    """Empty text and an empty array as well."""
    for line in ("", 'allowed_origins = ""', "allowed_origins = []"):
        assert origins.split(configured(tmp_path, line).allowed_origins) == []


@pytest.mark.parametrize(("line", "said"), [
    ("allowed_origins = [1]", "must be text"), ("allowed_origins = 1", "must be text"),
    ('allowed_origins = "https://a.example https://b.example"', "must match"),
    ('allowed_origins = ["https://a.example/"]', "allowed_origins: 'https://a.example/': must be scheme://host"),
    ('cookie_name = ["a"]', "must be text"),
])
def test_another_form_is_refused(tmp_path: Path, line: str, said: str) -> None:
    """Named, with what is allowed; only lists are lists."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        configured(tmp_path, line)


@pytest.mark.parametrize(("text", "said"), [
    ('cookie_name = "__Secure-nf"\ncookie_secure = false', "cookie_name starts with __Secure-"),
    ('cookie_name = "__host-nf"\ncookie_secure = false', "cookie_name starts with __host-"),
    ('cookie_partitioned = true', "cookie_partitioned is for pages of other sites"),
    ('cookie_partitioned = true\ncookie_same_site = "Strict"', "cookie_partitioned is for pages of other sites"),
    ('opt_out_cookie = "__host-Nightfeed"', "opt_out_cookie is cookie_name"),
    ('opt_out_cookie = ""', "must match"),
])
def test_cookies_that_browsers_would_drop_in_silence_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """SameSite=None without Secure, and __Host- without it, are so too."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        configured(tmp_path, text)
    same_site = 'cookie_same_site = "None"\n'
    assert configured(tmp_path, same_site + "cookie_partitioned = true").cookie_partitioned
