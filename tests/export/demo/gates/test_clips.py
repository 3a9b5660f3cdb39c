"""A case is rendered, checked and measured against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.gates.clips import (
    GateCase,
    find_silence,
    join_clips,
    measure_case,
    pair_up,
)
from echoexport.export.demo.held_out import HeldOutClip
from echoexport.export.demo.world.geometry import eyes_mask, face_box, mouth_mask
from echoexport.export.demo.world.person import stack_people
from echoexport.runtime.errors import InputError


def test_a_renderer_with_the_wrong_number_of_frames_is_refused(cases: list[GateCase]) -> None:
    with pytest.raises(InputError, match="the renderer gave"):
        measure_case(cases[0], lambda *_: cases[0].truth[:-1])


def test_the_measure_reads_true_frames_at_full_size(clips: list[HeldOutClip]) -> None:
    case = pair_up(clips[1], person=1_000_050, fps=12.5, size=128, seconds=3.0)
    result, _ = measure_case(case, lambda *_: case.truth)
    assert result.truth_correlation is not None
    assert result.truth_correlation > 0.99
    assert result.closed_frames == result.silent_frames


def test_only_closures_of_a_fifth_of_a_second_are_silence() -> None:
    openness = np.array([0.0] * 5 + [0.5] * 3 + [0.0] * 4 + [0.5] * 2)
    assert find_silence(openness, fps=25).tolist() == [True] * 5 + [False] * 9


def test_joined_clips_go_around_until_they_last_so_long(clips: list[HeldOutClip]) -> None:
    once = min(clip.seconds for clip in clips[:2])
    joined = join_clips(clips[:2], seconds=3 * once + 4.0)
    assert len(joined.samples) == round((3 * once + 4.0) * 16_000)
    assert len(joined.states) / 50 >= joined.seconds
    assert np.array_equal(joined.samples[:8000], clips[0].samples[:8000])


def test_no_clips_cannot_be_joined() -> None:
    with pytest.raises(InputError, match="no clips to join"):
        join_clips([], seconds=1.0)


def test_a_case_lasts_as_many_frames_as_begin_in_its_seconds(clips: list[HeldOutClip]) -> None:
    assert pair_up(clips[0], person=1, fps=10.0, size=64, seconds=1.01).frames == 11
    assert pair_up(clips[0], person=1, fps=10.0, size=64, seconds=1.0).frames == 10


def test_a_faces_mask_reaches_a_tenth_beyond_its_box(cases: list[GateCase]) -> None:
    case = cases[0]
    x0, y0, x1, y1 = face_box(stack_people([case.person]), size=64)[0]
    rows = np.flatnonzero(case.face.any(axis=1))
    columns = np.flatnonzero(case.face.any(axis=0))
    assert set(np.unique(case.face)) == {0, 255}
    assert rows[-1] + 1 - rows[0] == pytest.approx(1.2 * (y1 - y0), abs=2)
    assert columns[-1] + 1 - columns[0] == pytest.approx(1.2 * (x1 - x0), abs=2)
    assert abs(columns.mean() + 0.5 - (x0 + x1) / 2) < 1


def test_what_stands_still_has_neither_mouth_nor_eyes(cases: list[GateCase]) -> None:
    case = cases[0]
    person = stack_people([case.person])
    assert not case.beyond_mouth[mouth_mask(person, size=64)[0]].any()
    assert not case.still[eyes_mask(person, size=64)[0]].any()
    assert not (case.still & ~case.beyond_mouth).any()
