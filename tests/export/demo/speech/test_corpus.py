"""Clips kept in shards: written whole, read back, and not made twice.

Silent clips need no synthesizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.export.demo.speech import corpus
from echoexport.export.demo.speech.clips import SpeechClip, speak_clip
from echoexport.export.demo.speech.corpus import build_corpus, load_corpus
from echoexport.export.demo.speech.espeak import Speaker
from echoexport.export.demo.speech.plans import ClipPlan
from echoexport.runtime.errors import InputError, SettingError


def plan_silence(seed: int, *, hush: float = 5.0) -> ClipPlan:
    seconds = 0.3 + 0.01 * seed
    return ClipPlan(
        seed, Speaker("en-us"), (), lead=seconds, pauses=(), trail=0.1, level=0.0, hush=hush
    )


PLANS = [plan_silence(seed) for seed in range(7)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SHARD_CLIPS", 3)


def test_clips_read_back_as_they_were_made(tmp_path: Path) -> None:
    build_corpus(tmp_path, plans=PLANS)
    clips = load_corpus(tmp_path)
    assert [clip.plan for clip in clips] == PLANS
    for clip, plan in zip(clips, PLANS, strict=True):
        np.testing.assert_array_equal(clip.samples, speak_clip(plan).samples)
        assert clip.samples.dtype == np.int16
        assert clip.states.dtype == np.float32


def test_nothing_but_shards_is_left_in_the_folder(tmp_path: Path) -> None:
    build_corpus(tmp_path, plans=PLANS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"speech-{index:04d}.npz" for index in range(3)
    ]


def test_a_second_build_makes_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_corpus(tmp_path, plans=PLANS)
    (tmp_path / "speech-0001.npz").unlink()
    (tmp_path / "speech-0002.npz").write_bytes(b"PK broken")
    made: list[int] = []

    def count_clip(plan: ClipPlan) -> SpeechClip:
        made.append(plan.seed)
        return speak_clip(plan)

    monkeypatch.setattr(corpus, "speak_clip", count_clip)
    build_corpus(tmp_path, plans=PLANS)
    assert sorted(made) == [3, 4, 5, 6]


def test_shards_of_earlier_plans_are_removed(tmp_path: Path) -> None:
    build_corpus(tmp_path, plans=PLANS)
    build_corpus(tmp_path, plans=PLANS[:2])
    assert [clip.plan for clip in load_corpus(tmp_path)] == PLANS[:2]


def test_progress_is_told_after_each_shard(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    build_corpus(tmp_path, plans=PLANS, report=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_a_failing_clip_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(plan: ClipPlan) -> SpeechClip:
        raise SettingError(f"clip {plan.seed} cannot be said")

    monkeypatch.setattr(corpus, "speak_clip", fail)
    with pytest.raises(SettingError, match="cannot be said"):
        build_corpus(tmp_path, plans=PLANS)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_and_a_damaged_shard_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no speech"):
        load_corpus(tmp_path)
    (tmp_path / "speech-0000.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"speech-0000\.npz"):
        load_corpus(tmp_path)


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="workers 0"):
        build_corpus(tmp_path, plans=PLANS, workers=0)
