"""Crawlers, and pages that a browser loads ahead of time: answered as if all were well, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.crowd import BROWSER, Growth, Visitor, click, fresh_address, impression, running
from tests.edge_state import counts, written
from tests.stack_fixture import Stack

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
CRAWLERS = [
    GOOGLEBOT,
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 Chrome/W.X.Y.Z Mobile Safari/537.36 "
    "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) X",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 (Applebot/0.1)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "meta-externalagent/1.1", "Twitterbot/1.0", "LinkedInBot/1.0 (compatible; Mozilla/5.0)", "WhatsApp/2.23.20.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "TelegramBot (like TwitterBot)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
    "Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", "CCBot/2.0 (https://commoncrawl.org/faq/)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "SemrushBot", "MJ12bot/v1.4.8", "PetalBot;+x",
    "Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)", "Mediapartners-Google",
    "ia_archiver (+http://www.alexa.com/site/help/webmasters)", "Scrapy/2.11 (+https://scrapy.org)",
    "Mozilla/5.0 (Linux; Android 11; moto g power) Chrome/119.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse",
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "Pingdom.com_bot_version_1.4",
]
BROWSERS = [
    BROWSER,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/131.0.0.0 Safari/537.36",
    # A maker of telephones whose name ends like a crawler's.
    "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; CUBOT P40) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/131 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/490.0;]",
    "Botanica/3.1 CFNetwork/1496 Darwin/23", "python-httpx/0.28", "curl/8.5.0", "my-site-backend/1.0", "",
]


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    """A stack with ten items; its owner counts the names Acme+Fetcher (x) and LookAhead as crawlers', too."""
    with running(bots=["Acme+Fetcher (x)", "lookahead"]) as stack:
        stack.import_items([stack.item(f"a{at}") for at in range(1, 11)])
        yield stack


def agent(stack: Stack, name: str, token: str | None = None) -> Visitor:
    """Someone who says that this is their browser."""
    return Visitor(stack, fresh_address(), token, **{"User-Agent": name})


def test_what_a_crawler_reports_is_dropped(site: Stack) -> None:
    """204, so that it does not try again; nothing stored, no identity, counted as bot."""
    growth, before = Growth(site), written(site)
    for name in CRAWLERS:
        for token in (None, site.token("someone")):
            answer = agent(site, name, token).beacon(impression("a1"), click("a1"))
            assert (answer.status_code, answer.content, "set-cookie" in answer.headers) == (204, b"", False), name
    assert written(site) == before
    assert growth.dropped() == {"bot": 2 * len(CRAWLERS)}
    assert growth("nightfeed_identities_total") == 0
    assert growth("nightfeed_events_total") == 0


def test_browsers_and_programs_of_the_site_are_no_crawlers(site: Stack) -> None:
    """Whatever is not known counts as a person's."""
    for at, name in enumerate(BROWSERS):
        assert agent(site, name, site.token(f"person-{at}")).beacon(impression("a2")).status_code == 204
    assert counts(site, "a2") == {"i": len(BROWSERS)}


def test_without_a_name_it_is_no_crawler(site: Stack) -> None:
    """Some privacy tools leave the header out."""
    body = json.dumps({"events": [{"event": "search", "query": "x", "ts": 1}]})
    request = site.http.build_request("POST", "/beacon", content=body)
    del request.headers["User-Agent"]
    assert site.http.send(request).status_code == 422


def test_the_owner_of_a_site_can_name_more(site: Stack) -> None:
    """In any case, as they stand: nothing in them is a pattern."""
    growth = Growth(site)
    for name in ("acme+fetcher (X)/2", "The LookAhead one"):
        assert agent(site, name).beacon(impression("a3")).status_code == 204
    assert growth.dropped() == {"bot": 2}
    assert agent(site, "acmeefetcher x", site.token("u3")).beacon(impression("a3")).status_code == 204
    assert counts(site, "a3") == {"i": 1}


def test_a_crawlers_feed_is_nobodys(site: Stack) -> None:
    """The default list, the same as for any other, without an identity, whatever token comes along."""
    growth = Growth(site)
    site.beacon("reader", [impression("a4")])
    for token in (None, site.token("reader")):
        answer = agent(site, GOOGLEBOT, token).feed(n=100)
        page = answer.json()
        assert answer.status_code == 200
        assert (page["user"], page["personal"], page["why"]) == (None, False, "bot")
        assert {item["id"] for item in page["items"]} == {f"a{at}" for at in range(1, 11)}
        assert not {"set-cookie", "nightfeed-token"} & set(answer.headers)
    assert growth("nightfeed_identities_total") == 0


def test_a_crawler_gets_the_picture_all_the_same(site: Stack) -> None:
    """A page that it renders looks as it should."""
    growth, before = Growth(site), written(site)
    answer = agent(site, GOOGLEBOT).pixel("a1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert written(site) == before
    assert growth.dropped() == {"bot": 1}


AHEAD = [
    {"Sec-Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;anonymous-client-ip"}, {"X-Moz": "prefetch"}, {"X-Purpose": "preview"},
    {"Purpose": "Prefetch"},
]


@pytest.mark.parametrize("headers", AHEAD, ids=lambda headers: "".join(f"{k}: {v}" for k, v in headers.items()))
def test_what_is_loaded_ahead_of_time_was_not_looked_at(site: Stack, headers: dict[str, str]) -> None:
    """By beacon and by picture: answered, not stored, counted as prerender."""
    growth, before = Growth(site), written(site)
    visitor = Visitor(site, fresh_address(), site.token("reader"), **headers)
    assert visitor.beacon(impression("a5")).status_code == 204
    assert visitor.pixel("a5").headers["content-type"] == "image/gif"
    assert written(site) == before
    assert growth.dropped() == {"prerender": 2}


def test_a_feed_that_is_loaded_ahead_is_the_persons(site: Stack) -> None:
    """The page may be shown in a moment: it needs its list and its identity."""
    visitor = Visitor(site, fresh_address(), **{"Sec-Purpose": "prefetch;prerender"})
    answer = visitor.feed()
    assert answer.json()["user"].startswith("a-")
    assert answer.headers["nightfeed-token"]
    assert Visitor(site, fresh_address(), site.token("reader"), Purpose="prefetch").feed().json()["user"] == "reader"


def test_other_purposes_are_a_persons(site: Stack) -> None:
    """Only known words mean that nobody looks."""
    for headers in ({"Sec-Purpose": "navigate"}, {"Purpose": ""}, {"X-Purpose": "instant"}, {"X-Moz": "livebookmarks"}):
        visitor = Visitor(site, fresh_address(), site.token(f"r-{next(iter(headers))}"), **headers)
        assert visitor.beacon(impression("a6")).status_code == 204
    assert counts(site, "a6") == {"i": 4}


def test_many_names_are_told_apart(site: Stack) -> None:
    """What is remembered of names never gives one the answer of another."""
    growth = Growth(site)
    for at in range(300):
        name = f"Agent {at}" + ("bot" if at % 2 else "")
        assert agent(site, name, site.token("names")).beacon(impression("a7")).status_code == 204
    assert growth.dropped() == {"bot": 150}
