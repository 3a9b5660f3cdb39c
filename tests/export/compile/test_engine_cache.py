"""The engine cache: an entry is whole or not there.

It is found by all that it depends on, and goes when it may."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.compile import engine_cache
from echoexport.export.compile.engine_cache import (
    ENGINE_SCHEMA,
    SIDECAR,
    CachedEngine,
    EngineCache,
    EngineIdentity,
    EngineRecord,
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


# what another machine, library or build would have in each field
OTHER: dict[str, Any] = {
    "network": "vae_encoder",
    "graph": "c" * 64,
    "weights": "c" * 64,
    "inputs": (replace(TENSOR, axes=(("batch", 1), ("width", 8))),),
    "outputs": (replace(TENSOR, dtype="float16"),),
    "precision": "fp16",
    "compute": "bf16",
    "backend": "ort",
    "fingerprint": {**IDENTITY.fingerprint, "power_mode": "30W"},
    "settings": {**IDENTITY.settings, "level": 5},
    "revision": 2,
}


def record_of(folder: Path, identity: EngineIdentity = IDENTITY) -> EngineRecord:
    files = {"engine.json.data": describe_file(folder / "engine.json.data")}
    return EngineRecord(
        ENGINE_SCHEMA,
        identity.key,
        identity,
        files,
        "2026-01-01T00:00:00+00:00",
        1.5,
        None,
        (),
        "fp32",
        0.0,
        1.0,
    )


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, told: list[str]) -> EngineCache:
    return EngineCache(tmp_path / "engines", warn=told.append)


@pytest.fixture
def put(cache: EngineCache) -> Callable[..., CachedEngine]:
    """A function that keeps an engine of so many bytes."""

    def keep(size: int = 10, *, alone: bool = True, **changes: Any) -> CachedEngine:
        identity = replace(IDENTITY, **changes)
        staging = cache.make_staging(identity.key, alone=alone)
        (staging / "engine.json.data").write_bytes(b"e" * size)
        return cache.keep(staging, record_of(staging, identity))

    return keep


def test_what_was_kept_is_found(cache: EngineCache, put: Callable[..., CachedEngine]) -> None:
    put()
    found = cache.find(IDENTITY.key)
    assert found is not None
    assert found.record.made_of == IDENTITY
    assert (found.folder / "engine.json.data").read_bytes() == b"e" * 10


def test_every_field_of_the_identity_has_another_value_here() -> None:
    assert set(OTHER) == {field.name for field in fields(EngineIdentity)}


@pytest.mark.parametrize("field", OTHER)
def test_the_key_depends_on_each_thing_that_an_engine_depends_on(field: str) -> None:
    assert replace(IDENTITY, **{field: OTHER[field]}).key != IDENTITY.key


def test_the_key_does_not_depend_on_the_order_of_a_fingerprint() -> None:
    turned = dict(reversed(list(IDENTITY.fingerprint.items())))
    assert replace(IDENTITY, fingerprint=turned).key == IDENTITY.key


def test_nothing_is_found_where_nothing_is(cache: EngineCache, told: list[str]) -> None:
    assert cache.find(IDENTITY.key) is None
    assert list(cache.entries()) == []
    assert told == []


def spoil_engine(folder: Path) -> None:
    (folder / "engine.json.data").write_bytes(b"x" * 10)


def cut_engine(folder: Path) -> None:
    (folder / "engine.json.data").write_bytes(b"")


def lose_engine(folder: Path) -> None:
    (folder / "engine.json.data").unlink()


def cut_sidecar(folder: Path) -> None:
    path = folder / SIDECAR
    path.write_text(path.read_text()[:100])


def lose_sidecar(folder: Path) -> None:
    (folder / SIDECAR).unlink()


def alter(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / SIDECAR).read_text())
        change(data)
        (folder / SIDECAR).write_text(json.dumps(data))

    return spoil


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (spoil_engine, "engine.json.data has sha256"),
        (cut_engine, "engine.json.data has sha256"),
        (lose_engine, "No such file"),
        (cut_sidecar, ""),
        (lose_sidecar, "No such file"),
        (alter(lambda data: data.update(schema=99)), "engine.json is not of schema 1"),
        (alter(lambda data: data.update(more=1)), "engine.json: unknown key 'more'"),
        (alter(lambda data: data.pop("seconds")), "engine.json: missing key 'seconds'"),
        (
            alter(lambda data: data["made_of"].update(precision="int8")),
            "engine.json belongs to another key",
        ),
        (alter(lambda data: data.update(files={})), "engine.json names no file"),
        (
            alter(lambda data: data.update(files={"../other": {"sha256": "a", "bytes": 1}})),
            "or one elsewhere",
        ),
    ],
)
def test_a_broken_entry_is_removed_with_a_warning_and_counts_as_none(
    cache: EngineCache,
    put: Callable[..., CachedEngine],
    told: list[str],
    fault: Callable[[Path], None],
    wanted: str,
) -> None:
    folder = put().folder
    fault(folder)
    assert cache.find(IDENTITY.key) is None
    assert not folder.exists()
    assert len(told) == 1
    assert str(folder) in told[0]
    assert wanted in told[0]
    put()
    assert cache.find(IDENTITY.key) is not None


def test_a_broken_entry_is_left_out_of_the_list(
    cache: EngineCache, put: Callable[..., CachedEngine]
) -> None:
    put()
    cut_sidecar(put(precision="fp16").folder)
    assert [entry.record.made_of.precision for entry in cache.entries()] == ["fp32"]


def test_the_later_of_two_engines_with_one_key_is_kept(
    cache: EngineCache, put: Callable[..., CachedEngine]
) -> None:
    put(10)
    put(20)
    found = cache.find(IDENTITY.key)
    assert found is not None
    assert found.bytes == 20
    assert [path.name for path in cache.folder.iterdir()] == [IDENTITY.key]


def test_an_engine_that_another_process_puts_in_the_place_meanwhile_is_the_one_that_gives_way(
    cache: EngineCache, put: Callable[..., CachedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(10)
    remove = cache.remove

    def remove_slowly(folder: Path) -> None:
        remove(folder)
        monkeypatch.undo()
        put(15, alone=False)

    monkeypatch.setattr(cache, "remove", remove_slowly)
    assert put(20).bytes == 20


@pytest.mark.parametrize("others", [[], [20]], ids=["gone", "replaced"])
def test_an_engine_that_goes_while_it_is_looked_at_is_not_taken_for_a_broken_one(
    cache: EngineCache,
    put: Callable[..., CachedEngine],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    others: list[int],
) -> None:
    folder = put(10).folder
    read = engine_cache._read_entry

    def read_late(found: Path) -> CachedEngine:
        monkeypatch.undo()
        cache.remove(folder)  # as another process does
        for size in others:
            put(size)
        (cache.folder / "nothing" / SIDECAR).read_text()
        return read(found)

    monkeypatch.setattr(engine_cache, "_read_entry", read_late)
    found = cache.find(IDENTITY.key)
    assert [found.bytes if found else None, told] == [others[0] if others else None, []]


def test_an_entry_that_a_process_is_at_work_with_is_not_dropped(
    cache: EngineCache, put: Callable[..., CachedEngine]
) -> None:
    folder = put().folder
    with cache.locked(IDENTITY.key, tell=lambda _: None):
        assert not cache.drop(IDENTITY.key)
        assert folder.exists()
    assert cache.drop(IDENTITY.key)
    assert not folder.exists()


def test_use_makes_an_entry_the_youngest(
    cache: EngineCache, put: Callable[..., CachedEngine]
) -> None:
    first = put()
    second = put(precision="fp16")
    for entry, age in ((first, 100), (second, 50)):
        os.utime(entry.folder / SIDECAR, (1e9 - age, 1e9 - age))
    assert [entry.record.made_of.precision for entry in cache.entries()] == ["fp32", "fp16"]
    cache.find(IDENTITY.key)
    assert [entry.record.made_of.precision for entry in cache.entries()] == ["fp16", "fp32"]


def test_an_entry_knows_whether_a_bundle_shares_its_file(
    cache: EngineCache, put: Callable[..., CachedEngine], tmp_path: Path
) -> None:
    entry = put()
    assert not entry.linked
    os.link(entry.folder / "engine.json.data", tmp_path / "elsewhere")
    assert [each.linked for each in cache.entries()] == [True]


def test_what_a_killed_build_left_is_swept_and_what_one_at_work_has_is_not(
    cache: EngineCache,
) -> None:
    dead = cache.make_staging("d" * 64, alone=False)
    alive = cache.make_staging("e" * 64, alone=False)
    (cache.folder / "locks").mkdir()
    with cache.locked("e" * 64, tell=lambda _: None) as alone:
        assert alone
        assert cache.sweep() == 1
    assert (dead.exists(), alive.exists()) == (False, True)


def test_the_next_build_of_a_key_removes_what_a_killed_one_left(cache: EngineCache) -> None:
    left = cache.make_staging("d" * 64, alone=True)
    assert cache.make_staging("d" * 64, alone=True) != left
    assert not left.exists()


def hold_lock(folder: Path, held: threading.Event, go: threading.Event) -> None:
    with EngineCache(folder, warn=print).locked("k" * 64, tell=print):
        held.set()
        go.wait(30)


def test_a_second_build_waits_for_the_first_and_says_so(cache: EngineCache) -> None:
    held = threading.Event()
    go = threading.Event()
    # A lock belongs to an opened file.
    first = threading.Thread(target=hold_lock, args=(cache.folder, held, go))
    first.start()
    assert held.wait(30)
    told = []

    def tell(what: str) -> None:
        told.append(what)
        go.set()  # only now may the first go on

    with cache.locked("k" * 64, tell=tell) as alone:
        assert alone
    first.join(30)
    assert told == ["waiting for another process that compiles it"]


def test_a_folder_that_takes_no_locks_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with EngineCache(tmp_path / "file", warn=print).locked("k" * 64, tell=print) as alone:
        assert not alone


def test_timing_files_go_with_library_and_device(cache: EngineCache) -> None:
    one, other = ({"library": "tensorrt", "version": version} for version in ("10.3", "10.16"))
    assert cache.timing_file("tensorrt", one) == cache.timing_file("tensorrt", dict(one))
    assert cache.timing_file("tensorrt", one) != cache.timing_file("tensorrt", other)
