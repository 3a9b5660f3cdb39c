"""Pruning the cache of engines drops the oldest, and never what a bundle needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.compile.engine_cache import (
    ENGINE_SCHEMA,
    CachedEngine,
    EngineIdentity,
    EngineRecord,
    choose_victims,
)
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.contract.spec import TensorSpec

TENSOR = TensorSpec("latents", "float32", (("batch", 1), ("width", 4)))


IDENTITY = EngineIdentity(
    network="vae_decoder",
    graph="a" * 64,
    weights="b" * 64,
    inputs=(TENSOR,),
    outputs=(TENSOR,),
    precision="fp32",
    compute="fp32",
    backend="null",
    fingerprint={"library": "null", "version": "1", "device": "x", "power_mode": "15W"},
    settings={"workspace": None, "level": 3, "best_of": 1, "threads": 0},
    revision=1,
)


def entries_of(sizes: list[int]) -> list[CachedEngine]:
    """Entries of these sizes, the first used longest ago: one second apart, until second 1000."""
    found = []
    for i, size in enumerate(sizes):
        identity = replace(IDENTITY, revision=i)
        record = replace(BASE_RECORD, key=identity.key, made_of=identity)
        record = replace(record, files={"engine": replace(BASE_FILE, bytes=size)})
        found.append(
            CachedEngine(Path(identity.key), record, 1000.0 - len(sizes) + 1 + i, linked=False)
        )
    return found


BASE_FILE = describe_file(Path(__file__))


BASE_RECORD = EngineRecord(
    ENGINE_SCHEMA,
    IDENTITY.key,
    IDENTITY,
    {"engine": BASE_FILE},
    "",
    1.0,
    None,
    (),
    "fp32",
    0.0,
    1.0,
)


@given(
    sizes=st.lists(st.integers(0, 100), max_size=8),
    largest=st.integers(0, 500),
    needed=st.sets(st.integers(0, 7)),
)
def test_pruning_to_a_size_drops_the_oldest_no_more_than_needed_and_never_what_a_bundle_needs(
    sizes: list[int], largest: int, needed: set[int]
) -> None:
    entries = entries_of(sizes)
    kept = frozenset(entry.record.key for i, entry in enumerate(entries) if i in needed)
    gone = choose_victims(entries, now=1000, largest=largest, needed=kept)
    left = sum(sizes) - sum(entry.bytes for entry in gone)
    free = [entry for entry in entries if entry.record.key not in kept]
    assert gone == free[: len(gone)]
    assert left <= largest or gone == free
    assert not gone or left + gone[-1].bytes > largest


@given(ages=st.integers(0, 10), count=st.integers(0, 8), odd=st.booleans())
def test_pruning_by_age_and_by_staleness_drops_just_those(ages: int, count: int, odd: bool) -> None:
    entries = entries_of([1] * count)
    stale = {entry.record.key for i, entry in enumerate(entries) if odd and i % 2}
    gone = choose_victims(
        entries,
        now=1000,
        older_than=ages,
        is_stale=lambda entry: entry.record.key in stale,
        needed=frozenset(),
    )
    assert gone == [
        entry for entry in entries if 1000 - entry.used > ages or entry.record.key in stale
    ]
