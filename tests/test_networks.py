"""The setting trusted_proxies: which networks it takes, and what nginx is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import stack_render
from worker import networks
from worker.config import ConfigError, Settings, load


def configured(tmp_path: Path, line: str) -> Settings:
    """Settings of a nightfeed.toml with this line."""
    (tmp_path / "nightfeed.toml").write_text(line + "\n")
    return load(tmp_path, {})


@pytest.mark.parametrize("network", ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1", "127.0.0.0/8", "10.0.0.0/8"])
def test_addresses_and_blocks_are_networks(network: str) -> None:
    """Of both versions."""
    assert networks.problem(network) is None


@pytest.mark.parametrize(("network", "says"), [
    ("192.0.2.7/24", "has host bits set: write an address or a block"),
    ("192.0.2", "does not appear to be"), ("proxy.example.org", "does not appear to be"),
    ("192.0.2.0/33", "does not appear to be"), ("1;", "does not appear to be"), ("unix:", "does not appear to be"),
    ("0.0.0.0/0", "if all the world is trusted"), ("::/0", "if all the world is trusted"),
])
def test_anything_else_is_named_with_what_to_write(tmp_path: Path, network: str, says: str) -> None:
    """And stops the start."""
    assert says in str(networks.problem(network))
    with pytest.raises(ConfigError, match="trusted_proxies: '") as caught:
        configured(tmp_path, f'trusted_proxies = ["127.0.0.1", "{network}"]')
    assert says in str(caught.value)


@pytest.mark.parametrize("line", [
    'trusted_proxies = ["192.0.2.7", "2001:db8::/32"]', 'trusted_proxies = "192.0.2.7,2001:db8::/32"',
    'trusted_proxies = "192.0.2.7, 2001:db8::/32, 192.0.2.7"',
])
def test_a_list_or_a_text_with_commas_is_taken(tmp_path: Path, line: str) -> None:
    """Each once, in order."""
    assert networks.split(configured(tmp_path, line).trusted_proxies) == ["192.0.2.7", "2001:db8::/32"]


def test_without_proxies_nginx_is_told_nothing() -> None:
    """No header is read then, and the module for it is not needed."""
    assert stack_render._proxies([]) == ""
    told = stack_render._proxies(["192.0.2.7", "2001:db8::/32"]).split("\n")
    assert [line.strip() for line in told] == [
        "real_ip_header X-Forwarded-For;", "real_ip_recursive on;", "set_real_ip_from 192.0.2.7;",
        "set_real_ip_from 2001:db8::/32;",
    ]
