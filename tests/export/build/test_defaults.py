"""Defaults of a finished bundle written anew, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.build.defaults import (
    TUNING,
    TunedDefaults,
    record_defaults,
    require_new_manifest,
)
from echoexport.export.compile.bundle import CompileSettings, compile_bundle
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import (
    MANIFEST_NAME,
    read_manifest,
    replace_manifest,
)
from echoexport.runtime.errors import BundleError, OutputError

DEFAULTS = TunedDefaults(steps=5, overlap=0, compute="")


def record(bundle: Path, defaults: TunedDefaults = DEFAULTS, **more: Any) -> Any:
    given = {"before": read_manifest(bundle), "origin": {"clips": ["one"]}, "note": "tuned"} | more
    return record_defaults(bundle, defaults, **given)


def test_steps_and_overlap_are_the_bundle_s_from_then_on(null_bundle: Path) -> None:
    record(null_bundle)
    with open_bundle(null_bundle) as bundle:
        assert (bundle.manifest.sampler.steps, bundle.manifest.window.overlap) == (5, 0)
        list(bundle.check_files())


def test_all_else_of_the_manifest_stays(null_bundle: Path) -> None:
    before = read_manifest(null_bundle)
    after = record(null_bundle)
    kept = replace(
        after, sampler=before.sampler, window=before.window, provenance=before.provenance
    )
    assert kept == before


def test_live_sessions_keep_their_steps(null_bundle: Path) -> None:
    assert record(null_bundle).sampler.live_steps == 2
    assert record(null_bundle, TunedDefaults(4, 0, "")).sampler.live_steps == 2
    assert record(null_bundle, TunedDefaults(2, 0, "")).sampler.live_steps is None


def test_the_check_sum_is_renewed(null_bundle: Path) -> None:
    record(null_bundle)
    path = null_bundle / MANIFEST_NAME
    data = json.loads(path.read_text())
    data["sampler"]["steps"] = 6
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match="checksum"):
        read_manifest(null_bundle)


def test_results_that_engines_are_cached_by_stay_the_same(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        before = bundle.identity(*bundle.manifest.networks)
    record(null_bundle)
    with open_bundle(null_bundle) as bundle:
        assert bundle.identity(*bundle.manifest.networks) == before


def test_the_provenance_says_how_they_were_found(null_bundle: Path) -> None:
    made = record(null_bundle).provenance
    assert made.settings[TUNING] == {"clips": ["one"], "note": "tuned"}
    assert made.notes == ("tuned",)


def test_a_second_tuning_takes_the_first_one_s_place(null_bundle: Path) -> None:
    record(null_bundle)
    made = record(null_bundle, note="tuned again").provenance
    assert made.notes == ("tuned again",)
    assert made.settings[TUNING]["note"] == "tuned again"


def test_an_arithmetic_is_every_network_s(null_bundle: Path) -> None:
    after = record(null_bundle, TunedDefaults(5, 0, "bf16"))
    assert {entry.compute for entry in after.networks.values()} == {"bf16"}


def test_a_bundle_that_was_changed_meanwhile_is_left_alone(null_bundle: Path) -> None:
    before = read_manifest(null_bundle)
    replace_manifest(replace(before, fps=12.0), null_bundle)
    with pytest.raises(OutputError, match="was changed by another program"):
        record(null_bundle, before=before)
    assert read_manifest(null_bundle).fps == 12.0


def test_a_compiled_bundle_stays_one_of_the_portable_one(null_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    settings = CompileSettings(backend="null")
    compile_bundle(
        null_bundle, folder, settings=settings, report=lambda *_: None, warn=lambda _: None
    )
    record(null_bundle, TunedDefaults(5, 0, "bf16"), compiled=[folder])
    after = read_manifest(folder)
    assert (after.sampler.steps, after.window.overlap) == (5, 0)
    assert {entry.compute for entry in after.networks.values()} == {"fp32"}
    assert after.compiled is not None
    assert after.compiled.source == hash_file(null_bundle / MANIFEST_NAME)
    with open_bundle(folder) as bundle:
        list(bundle.check_files())


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"manifest\.json: cannot be written"):
        require_new_manifest(tmp_path / "file")


def test_a_place_that_can_be_written_is_left_as_it_is(null_bundle: Path) -> None:
    before = sorted(path.name for path in null_bundle.iterdir())
    require_new_manifest(null_bundle)
    assert sorted(path.name for path in null_bundle.iterdir()) == before
    assert [path.name for path in null_bundle.parent.iterdir()] == [null_bundle.name]
