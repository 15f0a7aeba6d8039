"""What the simulator knows about an item and the catalogue does not tell: how good it is."""

from hashlib import blake2b
from statistics import NormalDist

_NORMAL = NormalDist()


def quality(seed: int, item_id: str) -> float:
    """The hidden quality of an item, a standard normal number fixed by the seed and the item's id.

    The catalogue and the simulator both derive it, so that it never stands in a public record.
    """
    digest = blake2b(f"{seed}:{item_id}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return _NORMAL.inv_cdf(min(max(uniform, 1e-9), 1 - 1e-9))
