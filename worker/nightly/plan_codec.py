"""A plan as bytes, so that a run that was killed can be resumed with the same one."""

from __future__ import annotations

import datetime as dt

import numpy as np
import orjson

from worker.config import Settings
from worker.nightly.compose import default_list
from worker.nightly.plan import Plan
from worker.packing import Pool, pack_list, pack_pool, unpack_pool


def encode(plan: Plan, settings: Settings) -> dict[str, bytes]:
    """The plan as the parts kept in Redis: ``pool``, ``default``, ``older`` and ``plan``."""
    default = default_list(plan, settings)
    entries = default.entries[0, : default.lengths[0]]
    rest = {
        "date": plan.date.isoformat(),
        "seed": plan.seed,
        "category": plan.category.tolist(),
        "best_position": plan.best_position.tolist(),
        "best_day": plan.best_day.tolist(),
        "top_score": plan.top_score.tolist(),
    }
    pool = Pool(plan.generation, plan.moment, plan.max_item, plan.top_count, plan.new_count, plan.pool)
    return {
        "pool": pack_pool(pool),
        "default": pack_list(plan.generation, plan.moment, entries),
        "older": plan.older.astype("<u4").tobytes(),
        "plan": orjson.dumps(rest),
    }


def decode(parts: dict[str, bytes]) -> Plan:
    """The plan that ``encode`` made the parts of."""
    pool, rest = unpack_pool(parts["pool"]), orjson.loads(parts["plan"])
    return Plan(
        pool.generation, dt.date.fromisoformat(rest["date"]), rest["seed"], pool.max_item, pool.top_count,
        pool.new_count, pool.items, np.array(rest["category"], np.int32), np.array(rest["best_position"], np.int32),
        np.array(rest["best_day"], np.int32), np.array(rest["top_score"], np.float64),
        np.frombuffer(parts["older"], "<u4"),
    )
