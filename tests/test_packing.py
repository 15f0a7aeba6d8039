"""The binary formats: known bytes, round trips, refusal of what is not one, and Redis's own dumps of sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from worker.keyspace import PARTITIONS
from worker.packing import (
    LIST_HEADER,
    META,
    MISSED_EVERGREEN,
    POOL_HEADER,
    POOL_LIMIT,
    STATS,
    PackingError,
    Pool,
    pack_list,
    pack_pool,
    pack_stats,
    unpack_list,
    unpack_pool,
    unpack_stats,
)

u32 = st.integers(0, 2**32 - 1)


def test_sizes_are_those_of_the_documented_formats() -> None:
    """docs/design.md says 16 bytes an item, 32 a row of statistics, headers of 12 and 32."""
    assert (META.itemsize, STATS.itemsize, LIST_HEADER.size, POOL_HEADER.size) == (16, 32, 12, 32)


def test_a_row_of_meta_has_its_fields_at_the_documented_bytes() -> None:
    """posted, expires, social: u32; category u16; kind and flags u8; little endian."""
    raw = bytes.fromhex("01000000 02000000 03000000 0400 01 02")
    assert np.frombuffer(raw, META)[0].tolist() == (1, 2, 3, 4, 1, 2)


def test_a_list_is_the_documented_bytes() -> None:
    """Version, flags, count, generation, time; then positions, the second one an evergreen item that was missed."""
    raw = pack_list(7, 0x01020304, np.array([5, MISSED_EVERGREEN | 6], np.uint16))
    assert raw == bytes.fromhex("01 00 0200 07000000 04030201 0500 0680")
    assert unpack_list(raw).positions.tolist() == [5, 6]


@given(u32, u32, hnp.arrays(np.uint16, st.integers(0, 300)))
def test_a_list_is_read_as_it_was_written(generation: int, made_at: int, entries: np.ndarray) -> None:
    """Whatever its entries."""
    read = unpack_list(pack_list(generation, made_at, entries))
    assert (read.generation, read.made_at, read.entries.tolist()) == (generation, made_at, entries.tolist())


@given(u32, u32, u32, *[hnp.arrays(np.uint32, st.integers(0, 50))] * 3)
def test_a_pool_is_read_as_it_was_written(
    generation: int, moment: int, max_item: int, top: np.ndarray, new: np.ndarray, extra: np.ndarray
) -> None:
    """Three parts, each of any length."""
    pool = Pool(generation, moment, max_item, len(top), len(new), np.concatenate([top, new, extra]))
    read = unpack_pool(pack_pool(pool))
    assert read.items.tolist() == pool.items.tolist()
    assert (read.generation, read.moment, read.max_item, read.top_count, read.new_count) == (
        generation, moment, max_item, len(top), len(new))


@given(hnp.arrays(np.uint64, PARTITIONS), hnp.arrays(np.int32, st.tuples(st.integers(0, 20), st.just(7))))
def test_statistics_are_read_as_they_were_written(applied: np.ndarray, columns: np.ndarray) -> None:
    """Roll-up ids of all partitions, then rows."""
    rows = np.zeros(len(columns), STATS)
    for name, column in zip(STATS.names, columns.T, strict=True):
        rows[name] = column.astype(STATS[name])
    read_applied, read_rows = unpack_stats(pack_stats(applied, rows))
    assert read_applied.tolist() == applied.tolist()
    assert read_rows.tolist() == rows.tolist()


def test_no_statistics_yet_are_zeros_and_no_rows() -> None:
    """A day that nobody rolled up."""
    applied, rows = unpack_stats(None)
    assert applied.tolist() == [0] * PARTITIONS
    assert len(rows) == 0


def test_a_pool_that_positions_cannot_name_is_refused() -> None:
    """15 bits of position; the largest one is not used up by accident."""
    assert len(unpack_pool(pack_pool(Pool(1, 1, 1, 0, 0, np.zeros(POOL_LIMIT, np.uint32)))).items) == POOL_LIMIT
    with pytest.raises(PackingError, match="32768 items"):
        pack_pool(Pool(1, 1, 1, 0, 0, np.zeros(POOL_LIMIT + 1, np.uint32)))
    with pytest.raises(PackingError, match="2 items"):
        pack_pool(Pool(1, 1, 1, 2, 1, np.zeros(2, np.uint32)))


@pytest.mark.parametrize("unpack", [unpack_list, unpack_pool, unpack_stats])
@given(raw=st.binary(max_size=64) | st.binary(min_size=520, max_size=600))
def test_arbitrary_bytes_are_read_or_refused(unpack: object, raw: bytes) -> None:
    """Never another exception."""
    try:
        unpack(raw)  # type: ignore[operator]
    except PackingError as error:
        assert "bytes" in str(error)  # noqa: PT017 - any bytes may also be right


@given(st.data())
def test_every_truncation_and_every_extension_is_refused(data: st.DataObject) -> None:
    """A value that was cut is never taken for a shorter one."""
    unpack, raw = data.draw(st.sampled_from([
        (unpack_list, pack_list(1, 2, np.arange(3, dtype=np.uint16))),
        (unpack_pool, pack_pool(Pool(1, 2, 3, 1, 1, np.arange(3, dtype=np.uint32)))),
        (unpack_stats, pack_stats(np.zeros(PARTITIONS, np.uint64), np.zeros(2, STATS))),
    ]))  # fmt: skip
    with pytest.raises(PackingError):
        unpack(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(PackingError):
        unpack(raw + data.draw(st.binary(min_size=1, max_size=5)))
