"""``echoexport tune``: its table, its files, what it writes, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.build.defaults import TUNING
from echoexport.profiles.tuning import study
from echoexport.runtime.contract.manifest import MANIFEST_NAME, read_manifest

Run = Callable[..., Any]
BOX = ("--face-box", "10,10,80,90")


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renderings take as many seconds as they have steps."""
    from dataclasses import replace

    real = study.render_timed

    def stand_in(session: Any, clip: Any, choice: Any, how: Any) -> Any:
        return replace(real(session, clip, choice, how), seconds=float(choice.steps))

    monkeypatch.setattr(study, "render_timed", stand_in)


def test_the_quickest_becomes_the_default(
    tune: Run, slow_steps: None, null_bundle: Path, tmp_path: Path
) -> None:
    outcome = tune(*BOX)
    assert outcome.code == 0, outcome
    assert f"{null_bundle}: steps 1, overlap 1 are its defaults from now on" in outcome.out
    manifest = read_manifest(null_bundle)
    assert (manifest.sampler.steps, manifest.window.overlap) == (1, 1)
    assert manifest.provenance.settings[TUNING]["chosen"]["steps"] == 1
    report = json.loads((tmp_path / "tuning" / "report.json").read_text())
    assert report["chosen"]["steps"] == 1
    assert (tmp_path / "tuning" / "tuning.svg").read_text().startswith("<svg")
    assert (tmp_path / "tuning" / "tuning.html").read_text().startswith("<!DOCTYPE html>")


def test_a_dry_run_leaves_the_bundle_alone(tune: Run, slow_steps: None, null_bundle: Path) -> None:
    before = (null_bundle / MANIFEST_NAME).read_bytes()
    outcome = tune("--dry-run")
    assert outcome.code == 0
    assert "chosen: 1 step" in outcome.out and "unchanged, as --dry-run asks" in outcome.out
    assert (null_bundle / MANIFEST_NAME).read_bytes() == before


def test_a_default_that_nothing_beats_is_kept(
    tune: Run, slow_steps: None, null_bundle: Path
) -> None:
    before = (null_bundle / MANIFEST_NAME).read_bytes()
    outcome = tune("--psnr", 61)
    assert outcome.code == 0
    assert "kept as it is: 2 steps, overlap 1, fp32" in outcome.out
    assert (null_bundle / MANIFEST_NAME).read_bytes() == before


def test_a_tuned_bundle_verifies_and_runs_with_its_new_steps(
    tune: Run, run: Run, command: Run, slow_steps: None, null_bundle: Path, tmp_path: Path
) -> None:
    tune()
    assert command("verify", null_bundle).code == 0
    assert run(tmp_path / "a.mp4", "--report", tmp_path / "run.json").code == 0
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 1


def test_another_build_is_measured_and_not_chosen(
    tune: Run, slow_steps: None, make_null_bundle: Callable[..., Path], null_bundle: Path
) -> None:
    outcome = tune("--against", make_null_bundle("other"), "--dry-run")
    assert outcome.code == 0, outcome
    lines = [line for line in outcome.out.splitlines() if line.startswith("other: fp32")]
    assert len(lines) == 2 and all(line.endswith("holds") for line in lines)


def test_an_interrupt_keeps_what_was_measured_and_the_same_command_goes_on(
    tune: Run, null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = study.render_timed
    done: list[int] = []

    def interrupt(session: Any, clip: Any, choice: Any, how: Any) -> Any:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(choice.steps)
        return real(session, clip, choice, how)

    before = (null_bundle / MANIFEST_NAME).read_bytes()
    monkeypatch.setattr(study, "render_timed", interrupt)
    outcome = tune("--renderings", 3)
    assert outcome.code == 130
    assert "what was measured is kept: the same command goes on from it" in outcome.told
    assert (null_bundle / MANIFEST_NAME).read_bytes() == before
    monkeypatch.setattr(study, "render_timed", real)
    again = tune("--renderings", 3)
    assert again.code == 0
    assert "note: 1 of 2 renderings were measured before an interrupt" in again.out


def test_a_tuning_that_ended_is_measured_anew(tune: Run) -> None:
    tune("--dry-run")
    assert "before an interrupt" not in tune("--dry-run").out


def test_without_progress_nothing_is_kept(
    tune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "measure_trial", interrupt)
    outcome = tune("--no-progress")
    assert outcome.code == 130 and "is kept" not in outcome.err
    assert not (tmp_path / "own-cache" / "progress").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--steps", "0"), "--steps 0: 0 is too few; 1 or more is wanted"),
        (("--steps", "1,x"), "--steps 1,x: whole numbers between commas are wanted"),
        (("--steps", ""), "whole numbers between commas are wanted"),
        (("--steps", "5000"), "5000"),
        (("--overlap", "4"), "overlap 4: 0 to 3 frames fit this bundle's window"),
        (("--compute", "bf17"), "--compute bf17: the backend has fp32 here"),
        (("--ssim", "nan"), "--ssim nan: a number from 0 to 100 is wanted"),
        ((*BOX, *BOX), "2 --face-box for 1 --portrait"),
        (("-v", "none.wav"), "none.wav"),
        (("--against", "none"), "none/manifest.json: no such file; none is not a bundle"),
        (("--backend", "nul"), "Did you mean 'null'?"),
    ],
)
def test_what_cannot_work_is_one_line(
    tune: Run, null_bundle: Path, options: tuple[str, ...], told: str
) -> None:
    before = (null_bundle / MANIFEST_NAME).read_bytes()
    outcome = tune(*options, *(() if "--face-box" in options else BOX))
    assert (outcome.code, outcome.out) == (1, "")
    assert told in outcome.told[-1]
    assert (null_bundle / MANIFEST_NAME).read_bytes() == before


def test_nothing_is_left_of_a_refused_tuning(tune: Run, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert tune("--overlap", "9").code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_no_bundle_is_refused(refusal: Run, tmp_path: Path) -> None:
    assert "is not a bundle" in refusal("tune", tmp_path)


def test_reports_do_not_go_into_the_bundle(refusal: Run, null_bundle: Path) -> None:
    assert "lies within bundle" in refusal("tune", null_bundle, "-o", null_bundle / "tuning")


def test_a_silent_voice_is_told_of(
    command: Run, null_bundle: Path, portrait_file: Path, tmp_path: Path
) -> None:
    import wave

    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    files = ("-p", portrait_file, "-v", path, *BOX, "--steps", "1", "-o", tmp_path / "tuning")
    outcome = command("tune", null_bundle, *files)
    assert outcome.code == 0
    assert "silent throughout" in outcome.told[0]
