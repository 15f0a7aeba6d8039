"""What must not be published is not: the reason is in the message and in the status; --force overrides."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from tests.faults.night import Night, night
from tests.faults.runs import refused
from tests.night_site import TODAY
from worker import keyspace
from worker.nightly import composer, partition
from worker.nightly.run import Options, nightly
from worker.packing import pack_stats, unpack_stats
from worker.store.connect import Store, open_store

__all__ = ["night"]  # a fixture


def check_refused(night: Night, reason: str) -> None:
    """The old lists stay, and `worker status` says why, to people and to programs."""
    assert night.lists() == night.reference.old
    assert int(night.state()["generation"]) == night.old_generation()
    assert reason in night.stack.worker("status").stdout
    status = json.loads(night.stack.worker("status", "--json").stdout)
    assert reason in " ".join(status["refused_since"]["refused"])


def test_an_empty_catalogue_is_not_published_unless_forced(night: Night) -> None:
    """Every item removed; forced, nobody is shown one of them."""
    names = [f"old{n}" for n in range(300)] + [f"new{n}" for n in range(40)]
    night.stack.worker("items", "remove", *names)
    message = refused(night.start())
    assert "top content is empty" in message
    assert "--force" in message
    check_refused(night, "top content is empty")
    report = night.rerun("--force")
    assert (report["top"], report["new"], report["users"], report["forced"]) == (0, 0, 160, True)
    assert all(len(raw) == 12 for raw in night.lists().values())
    night.check_tidy()


def test_equal_scores_in_spite_of_impressions_are_not_published_unless_forced(night: Night) -> None:
    """Every item of top content was seen, and clicked, as often as every other; none is younger than another."""
    make_equal(night)
    message = refused(night.start())
    assert "have the same score although impressions were counted" in message
    check_refused(night, "have the same score")
    assert night.rerun("--force")["lists"] == 160


def make_equal(night: Night) -> None:
    """Evergreen items only, and the same statistics for each on one day."""
    names = [f"old{n}" for n in range(0, 300, 3)] + [f"new{n}" for n in range(40)]
    night.stack.worker("items", "hide", *names)
    redis = night.stack.redis
    for key in night.keys("count:*") | night.keys("stats:*"):
        redis.delete(key)
    applied, _ = unpack_stats(None)
    day = (TODAY - dt.timedelta(3) - dt.date(1970, 1, 1)).days
    rows = unpack_stats(None)[1].repeat(0)
    rows.resize(300)
    rows["item"], rows["impressions"], rows["clicks"] = range(1, 301), 50, 5
    redis.set(keyspace.key("stats", day), pack_stats(applied, rows))


class Planting:
    """A composer that puts the first entry of each list a second time into it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any) -> Any:
        made = self._inner(*args)
        made.entries[:, 5] = made.entries[:, 0]
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists with a repeat in each, as a defect of the composer would make them."""
    monkeypatch.setattr(partition, "composer", lambda *args: Planting(composer.composer(*args)))


def opened(night: Night, **settings: Any) -> Store:
    """The store, with settings of this run's own."""
    import dataclasses
    store = open_store(night.stack.run)
    return Store(store.redis, dataclasses.replace(store.settings, **settings), store.run)


@pytest.mark.usefixtures("planted")
def test_a_repeat_in_a_sample_of_finished_lists_is_not_published_unless_forced(night: Night) -> None:
    """Found before anything is written; forced, the report counts them."""
    with pytest.raises(partition.GateError, match=r"the list of reader-\d+ holds an item twice.*--force"):
        nightly(opened(night), Options(TODAY))
    check_refused(night, "holds an item twice")
    assert not int(night.state().get("begun", 0)) > night.old_generation()
    report = nightly(opened(night), Options(TODAY, force=True))
    assert report["repeats"] >= 160


@pytest.mark.usefixtures("planted")
def test_a_repeat_that_the_sample_missed_is_not_published_either(night: Night) -> None:
    """Found when the lists are made: those of its part are not written, and the generation stays."""
    with pytest.raises(partition.GateError, match=r"repeat what was seen or stand twice.*--force"):
        nightly(opened(night, sample_size=0), Options(TODAY))
    check_refused(night, "stand twice")


def test_after_the_defect_is_mended_the_next_run_publishes(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with the plan of the one that was refused half-way."""
    with monkeypatch.context() as defect:
        defect.setattr(partition, "composer", lambda *args: Planting(composer.composer(*args)))
        with pytest.raises(partition.GateError):
            nightly(opened(night, sample_size=0), Options(TODAY))
    night.finish()
