"""``echoexport cache list`` and ``echoexport cache prune``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.cli.cache import describe_age, read_age, read_size
from echoexport.export.compile.engine_cache import EngineCache
from echoexport.export.engines import BuiltEngine, null
from echoexport.export.engines.nvidia.tensorrt_library import PRODUCTS, Product
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import SettingError


@pytest.fixture
def engines(command: Callable[..., Any], null_bundle: Path, tmp_path: Path) -> Path:
    """The folder of a cache with the null bundle's engines."""
    assert command("compile", null_bundle, "-o", tmp_path / "compiled").code == 0
    return tmp_path / "own-cache" / "engines"


def keys(engines: Path) -> list[str]:
    return sorted(path.parent.name for path in engines.glob("*/engine.json"))


def make_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NullBackend, "fingerprint", lambda *_: {"library": "null", "version": "2"})


def test_the_list_shows_each_engine_and_the_sum(command: Callable[..., Any], engines: Path) -> None:
    lines = command("cache", "list").out.splitlines()
    assert lines[0].split() == [
        "key",
        "network",
        "precision",
        "backend",
        "version",
        "device",
        "size",
    ]
    assert sorted(line.split()[1] for line in lines[1:7]) == sorted(FAMILY.required)
    assert all(line.endswith("ready, in a compiled bundle") for line in lines[1:7])
    assert lines[7] == f"{engines}: 6 engines, 0 MB"


@pytest.fixture
def library_folder(tmp_path: Path) -> Path:
    """What a library keeps for a network of a portable bundle, unused for forty days."""
    folder = tmp_path / "own-cache" / "engines" / f"denoising_unet-{'a' * 24}"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "model.blob").write_bytes(bytes(3_000_000))
    then = time.time() - 40 * 86400
    os.utime(folder, (then, then))
    return folder


def test_what_libraries_keep_by_themselves_is_listed_below_the_engines(
    command: Callable[..., Any], engines: Path, library_folder: Path
) -> None:
    lines = command("cache", "list").out.splitlines()
    assert " ".join(lines[7].split()) == "- denoising_unet 3.0 MB used 40 d ago kept by its library"
    assert lines[8] == f"{engines}: 6 engines, 0 MB; 1 folders of libraries, 3 MB"
    (shown,) = json.loads(command("cache", "list", "--json").out)["library_folders"]
    assert (shown["folder"], shown["network"], shown["bytes"]) == (
        str(library_folder),
        "denoising_unet",
        3_000_000,
    )


@pytest.mark.parametrize("rule", [("--older-than", "30d"), ("--max-size", "1MB")])
def test_what_libraries_keep_by_themselves_goes_by_age_and_size(
    command: Callable[..., Any], engines: Path, library_folder: Path, rule: tuple[str, str]
) -> None:
    told = command("cache", "prune", *rule).out.splitlines()
    assert told[-1] == "0 of 6 engines and 1 of 1 folders of libraries, freed 3 MB"
    assert not library_folder.exists()
    assert len(keys(engines)) == 6


def test_what_a_library_keeps_is_never_stale(
    command: Callable[..., Any], library_folder: Path
) -> None:
    command("cache", "prune", "--stale")
    assert library_folder.exists()


def test_what_a_killed_prune_left_of_a_librarys_folder_is_swept(
    command: Callable[..., Any], engines: Path, library_folder: Path
) -> None:
    left = library_folder.rename(engines / f".part-{library_folder.name}-{'b' * 12}")
    command("cache", "prune", "--older-than", "999w")
    assert not left.exists()


def test_an_empty_cache_is_an_empty_list(command: Callable[..., Any]) -> None:
    assert command("cache", "list").out.endswith("engines: 0 engines, 0 MB\n")


def test_engines_of_another_version_are_stale(
    command: Callable[..., Any], engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stale(monkeypatch)
    assert command("cache", "list").out.count("  stale, in a compiled bundle\n") == 6
    shown = json.loads(command("cache", "list", "--json").out)["engines"][0]
    assert "version '1' there, '2' here" in shown["stale"]


def test_engines_of_a_backend_that_is_gone_are_stale(
    command: Callable[..., Any], engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no device")
    shown = json.loads(command("cache", "list", "--json").out)["engines"]
    assert {each["stale"] for each in shown} == {"there is no device"}


def test_engines_for_other_machines_are_not_stale_where_they_would_be_built_alike(
    command: Callable[..., Any], engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no GPU")
    monkeypatch.setitem(PRODUCTS, "null", Product("null", ahead_of_time=True))
    assert command("cache", "prune", "--stale").out == "0 of 6 engines, freed 0 MB\n"
    make_stale(monkeypatch)
    assert command("cache", "prune", "--stale").out.splitlines()[-1] == "6 of 6 engines, freed 0 MB"


def test_the_json_has_all_that_a_key_is_made_of(command: Callable[..., Any], engines: Path) -> None:
    shown = json.loads(command("cache", "list", "--json").out)
    assert shown["schema"] == 1
    record = shown["engines"][0]["record"]
    assert record["made_of"]["settings"] == {
        "workspace": None,
        "level": None,
        "best_of": 1,
        "threads": 0,
    }
    assert record["key"] in keys(engines)


def test_prune_drops_what_is_stale_and_the_bundle_still_opens(
    command: Callable[..., Any], engines: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command("cache", "prune", "--stale").out == "0 of 6 engines, freed 0 MB\n"
    make_stale(monkeypatch)
    assert command("cache", "prune", "--stale").out.splitlines()[-1] == "6 of 6 engines, freed 0 MB"
    assert keys(engines) == []
    monkeypatch.undo()
    with open_bundle(tmp_path / "compiled") as bundle:
        assert bundle.self_test("vae_decoder").passed


def test_a_dry_run_drops_nothing(command: Callable[..., Any], engines: Path) -> None:
    before = keys(engines)
    outcome = command("cache", "prune", "--max-size", "0", "--dry-run")
    assert outcome.out.count("would drop ") == 6
    assert outcome.out.splitlines()[-1] == "6 of 6 engines, would free 0 MB"
    assert keys(engines) == before


def test_prune_drops_what_was_not_used_for_long(command: Callable[..., Any], engines: Path) -> None:
    oldest, *others = keys(engines)
    then = time.time() - 40 * 86400
    os.utime(engines / oldest / "engine.json", (then, then))
    assert command("cache", "prune", "--older-than", "30d").code == 0
    assert keys(engines) == others


def test_what_a_named_bundle_is_made_of_stays(
    command: Callable[..., Any], engines: Path, tmp_path: Path
) -> None:
    before = keys(engines)
    assert (
        command("cache", "prune", tmp_path / "compiled", "--max-size", "0").out
        == "0 of 6 engines, freed 0 MB\n"
    )
    assert keys(engines) == before


def test_prune_leaves_what_another_process_compiles_with_and_says_so(
    command: Callable[..., Any], engines: Path
) -> None:
    busy = keys(engines)[2]
    with EngineCache(engines, warn=print).locked(busy, tell=print):
        outcome = command("cache", "prune", "--max-size", "0")
    assert outcome.told == [
        f"echoexport: warning: {engines / busy}: kept, another process compiles with it"
    ]
    assert outcome.out.splitlines()[-1] == "5 of 6 engines, freed 0 MB"
    assert keys(engines) == [busy]


def test_engines_that_are_pruned_while_others_are_built_are_in_the_compiled_bundle(
    command: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = EngineCache(tmp_path / "own-cache" / "engines", warn=print)
    real = null.build_engine

    def build(*arguments: Any, **options: Any) -> BuiltEngine:
        for entry in list(cache.entries()):
            assert cache.drop(entry.record.key)
        return real(*arguments, **options)

    monkeypatch.setattr(null, "build_engine", build)
    outcome = command("compile", null_bundle, "-o", tmp_path / "compiled")
    assert (outcome.code, outcome.told) == (0, [])
    with open_bundle(tmp_path / "compiled") as bundle:
        assert len(list(bundle.check_files())) == 12


def test_prune_sweeps_what_killed_compiles_left(command: Callable[..., Any], engines: Path) -> None:
    left = engines / f".part-{'a' * 64}-{'b' * 12}"
    left.mkdir()
    command("cache", "prune", "--older-than", "999w")
    assert not left.exists()


def test_prune_claims_nothing_that_it_could_not_remove(
    command: Callable[..., Any], engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineCache, "remove", lambda self, folder: None)
    outcome = command("cache", "prune", "--max-size", "0")
    assert outcome.code == 1
    assert outcome.out == "0 of 6 engines, freed 0 MB\n"
    assert outcome.told[-1].endswith(
        f"{engines}: 6 of these cannot be removed; run it as the owner of that folder"
    )


def test_prune_wants_to_be_told_what_may_go(refusal: Callable[..., str]) -> None:
    assert refusal("cache", "prune") == "say what may go: --older-than, --stale or --max-size"


def test_a_portable_bundle_needs_nothing_of_the_cache(
    refusal: Callable[..., str], null_bundle: Path
) -> None:
    assert "not a compiled bundle" in refusal("cache", "prune", null_bundle, "--stale")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("1.5D", 129600), ("2w", 1209600)],
)
def test_ages_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500MB", 500_000_000), ("10GB", 10**10), ("1.5 gb", 1_500_000_000), ("2kb", 2000)],
)
def test_sizes_are_read_with_their_unit(text: str, size: int) -> None:
    assert read_size(text) == size


@given(st.text(max_size=8))
def test_anything_else_is_refused_or_a_number(text: str) -> None:
    for read in (read_age, read_size):
        try:
            assert read(text) >= 0
        except SettingError as error:
            assert text in str(error)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (3599, "59 m"), (7200, "2 h"), (2e5, "2 d")]
)
def test_ages_are_shown_roughly(seconds: float, text: str) -> None:
    assert describe_age(seconds) == text
