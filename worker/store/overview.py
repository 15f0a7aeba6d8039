"""What Redis says of itself and of the users, in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.keyspace import PARTITIONS, key, partition_key
from worker.store.connect import Store, explained


@dataclass(frozen=True)
class Overview:
    """Users seen within the window, the catalogue's version, and Redis's release, memory and limit in bytes."""

    users: int
    catalogue_version: int
    redis_version: str
    memory: int
    maxmemory: int


@explained("Redis")
def read(store: Store) -> Overview:
    """The overview of this moment. Raises StoreError when Redis does not answer."""
    pipe: Any = store.redis.pipeline(transaction=False)
    pipe.info("server")
    pipe.info("memory")
    pipe.get(key("version"))
    for partition in range(PARTITIONS):
        pipe.zcard(partition_key("users", partition))
    server, memory, version, *users = pipe.execute()
    return Overview(sum(users), int(version or 0), server["redis_version"], memory["used_memory"], memory["maxmemory"])
