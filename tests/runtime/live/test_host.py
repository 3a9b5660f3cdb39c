"""A host opens each network once, keeps portraits, and lets in as many as it can draw for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fixtures.live_stage import Stage

from echoexport.runtime.errors import CapacityError, PortraitError
from echoexport.runtime.live.host import LivePicture
from echoexport.runtime.live.settings import LiveSettings, settle_live

MakeStage = Callable[..., Stage]


def make_numbers(stage: Stage, **settings: object) -> object:
    wanted = LiveSettings(fps=25, steps=2, **settings)  # type: ignore[arg-type]
    return settle_live(stage.host.bundle.manifest, wanted)


def test_a_network_is_opened_once(stage: Stage) -> None:
    assert stage.host.network("vae_decoder") is stage.host.network("vae_decoder")


def test_a_portrait_that_was_seen_lately_is_not_prepared_again(stage: Stage) -> None:
    one = stage.talk()
    calls = stage.host.network("denoising_unet").calls
    other = stage.talk()
    assert stage.host.network("denoising_unet").calls == calls
    assert one._production._portrait is other._production._portrait


def test_a_portrait_of_another_size_is_refused(stage: Stage) -> None:
    picture = LivePicture(np.zeros((8, 8, 3), np.uint8), mask=np.zeros((8, 8), np.uint8))
    with pytest.raises(PortraitError):
        stage.host.prepare(picture, make_numbers(stage), cache=None)  # type: ignore[arg-type]


def test_the_first_session_is_let_in_however_slow_the_device_is(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.host.costs.tell("draw 2 renoised", 5.0)
    stage.talk().close()
    with stage.talk(), pytest.raises(CapacityError, match="1 live sessions take 156"):
        stage.talk()


def test_capacity_is_what_would_be_let_in(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.host.costs.tell("draw 2 renoised", 0.05)
    stage.host.costs.tell("decode", 0.004)
    numbers = make_numbers(stage)
    capacity = stage.host.count_capacity(numbers)  # type: ignore[arg-type]
    talks = [stage.talk() for _ in range(capacity)]
    with pytest.raises(CapacityError):
        stage.talk()
    assert stage.host.load() == pytest.approx(capacity * (0.05 / 4 + 0.004) * 25 / 2)
    for talk in talks:
        talk.close()
    assert stage.host.load() == 0


@pytest.mark.parametrize(("a_step", "steps"), [(0.01, 6), (0.04, 2), (0.027, 3), (1.0, 2)])
def test_a_device_is_asked_for_as_many_steps_as_it_keeps_up_with(
    make_stage: MakeStage, a_step: float, steps: int
) -> None:
    stage = make_stage()
    stage.host.costs.tell("draw 6 renoised", 6 * a_step)
    stage.host.costs.tell("decode", 0.003)
    numbers = settle_live(stage.host.bundle.manifest, LiveSettings(fps=25, steps=6))
    # 60 % of a block's 160 ms, less four pictures
    assert stage.host.choose_steps(numbers).steps == steps


def test_mode_cached_takes_two_steps_unless_told(make_stage: MakeStage) -> None:
    stage = make_stage(live=True)
    stage.host.costs.tell("draw 6 cached", 0.006)
    asked = LiveSettings(fps=25, steps=6, mode="cached")
    numbers = settle_live(stage.host.bundle.manifest, asked)
    assert stage.host.choose_steps(numbers).steps == 2
    with stage.talk(steps=6, mode="cached") as talk:
        assert talk.rung.steps == 6


def test_each_mode_takes_the_share_that_it_costs_itself(make_stage: MakeStage) -> None:
    stage = make_stage(live=True)
    for mode, seconds in (("renoised", 0.08), ("cached", 0.04)):
        stage.host.costs.tell(f"draw 2 {mode}", seconds)
    shares = {
        mode: stage.host.measure_share(
            settle_live(stage.host.bundle.manifest, LiveSettings(fps=25, steps=2, mode=mode))
        )
        for mode in ("renoised", "cached")
    }
    assert shares == {"renoised": pytest.approx(0.25), "cached": pytest.approx(0.125)}


def test_what_a_block_costs_is_measured_once(stage: Stage) -> None:
    numbers = settle_live(stage.host.bundle.manifest, LiveSettings(fps=25, steps=2))
    stage.host.costs.tell("draw 2 renoised", 0.5)
    calls = stage.host.network("denoising_unet").calls
    stage.host.measure(numbers)
    assert stage.host.network("denoising_unet").calls == calls
    stage.host.measure(replace(numbers, steps=1))
    assert stage.host.network("denoising_unet").calls > calls
