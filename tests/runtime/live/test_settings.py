"""Every number of a live session: the bundle's own, the caller's, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import SettingError
from echoexport.runtime.live.settings import (
    CACHED,
    FAST,
    REAL,
    RENOISED,
    LiveNumbers,
    LiveSettings,
    settle_live,
)


@pytest.fixture
def manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    return read_manifest(make_null_bundle(frames=12))


@pytest.fixture
def live_manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    """Of a bundle with the networks for live."""
    return read_manifest(make_null_bundle("live", frames=12, live=True))


def settle(manifest: Manifest, **named: Any) -> LiveNumbers:
    return settle_live(manifest, LiveSettings(**named))


def with_guidance(manifest: Manifest, guidance: float) -> Manifest:
    return replace(manifest, sampler=replace(manifest.sampler, guidance=guidance))


def test_live_steps_are_the_bundles_own_where_it_has_them(manifest: Manifest) -> None:
    sampler = replace(manifest.sampler, live_steps=5)
    assert settle(replace(manifest, sampler=sampler)).steps == 5
    assert settle(replace(manifest, sampler=sampler), steps=3).steps == 3


def test_what_nobody_says_is_the_bundles_own(manifest: Manifest) -> None:
    numbers = settle(manifest)
    assert numbers.fps == 24
    assert numbers.steps == manifest.sampler.steps
    assert numbers.guidance == manifest.sampler.guidance
    assert numbers.hold == manifest.picture.hold
    assert numbers.hearing.mels == 80
    assert (numbers.mode, numbers.block, numbers.pace) == (RENOISED, 4, REAL)
    assert numbers.idle_frames == 48
    assert numbers.ahead_frames == 19
    assert numbers.hearing.quiet_below == -3.5


def test_what_is_said_is_taken(manifest: Manifest) -> None:
    numbers = settle(
        manifest,
        fps=30_000 / 1001,
        steps=4,
        guidance=2.5,
        block=11,
        sample_rate=44_100,
        seed=2**64 - 1,
        hold=0,
        pace=FAST,
        deterministic=True,
        quiet_db=-20,
        idle_seconds=0.001,
        most_pending=5,
        ahead=1,
    )
    assert numbers.fps == Fraction(30_000, 1001)
    assert (numbers.steps, numbers.guidance, numbers.block) == (4, 2.5, 11)
    assert numbers.hearing.sample_rate == 44_100
    assert numbers.hearing.quiet_below == -2.0
    assert (numbers.seed, numbers.hold, numbers.pace) == (2**64 - 1, 0, FAST)
    assert numbers.deterministic
    assert (numbers.idle_frames, numbers.most_pending, numbers.ahead_frames) == (1, 5.0, 30)


def test_a_bundle_with_networks_for_live_draws_by_either_way(live_manifest: Manifest) -> None:
    assert settle(live_manifest).mode == RENOISED
    numbers = settle(live_manifest, mode=CACHED)
    assert (numbers.mode, numbers.block) == (CACHED, 4)
    assert settle(live_manifest, mode=RENOISED, block=2).block == 2
    assert settle(live_manifest, mode=CACHED, block=4).block == 4


def test_guidance_needs_the_mode_that_has_it(live_manifest: Manifest) -> None:
    guided = with_guidance(live_manifest, 2.5)
    assert settle(guided).guidance == 2.5
    assert settle(guided, mode=CACHED, guidance=1.0).mode == CACHED
    with pytest.raises(SettingError, match=r"guidance 2\.5 needs mode 'renoised'"):
        settle(guided, mode=CACHED)


def test_a_mode_needs_its_network(manifest: Manifest) -> None:
    with pytest.raises(SettingError, match="mode 'cached': this bundle has no network for it"):
        settle(manifest, mode=CACHED)


def test_the_cached_mode_draws_as_many_as_its_network(live_manifest: Manifest) -> None:
    with pytest.raises(SettingError, match="block 3: mode 'cached' draws 4 at once"):
        settle(live_manifest, mode=CACHED, block=3)


def test_a_small_window_has_a_smaller_block(make_null_bundle: Callable[..., Path]) -> None:
    assert settle(read_manifest(make_null_bundle(frames=3))).block == 2


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"fps": 0}, "fps 0"),
        ({"fps": float("nan")}, "fps nan"),
        ({"mode": "offline"}, "mode 'offline'; known: renoised, cached"),
        ({"steps": 0}, "0 sampling steps do not work"),
        ({"steps": 2.0}, "2.0 sampling steps do not work"),
        ({"guidance": -1}, "guidance -1"),
        ({"guidance": True}, "guidance True"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"guidance": float("inf")}, "guidance inf"),
        ({"block": 0}, "block 0: 1 to 11 new frames"),
        ({"block": 12}, "block 12: 1 to 11 new frames"),
        ({"block": 4.0}, r"block 4\.0"),
        ({"sample_rate": 100}, "sample rate 100"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 2**64}, "seed must be a whole number"),
        ({"seed": "7"}, "seed must be a whole number"),
        ({"hold": -1}, "hold -1: 0 to 255"),
        ({"hold": 256}, "hold 256: 0 to 255"),
        ({"hold": True}, "hold True"),
        ({"pace": "slow"}, "pace 'slow'; known: real, fast"),
        ({"quiet_db": -61}, "quiet -61 dB"),
        ({"quiet_db": float("nan")}, "quiet nan dB"),
        ({"idle_seconds": 0}, "idle 0: seconds above 0 and up to 60"),
        ({"idle_seconds": 61}, "idle 61"),
        ({"most_pending": -1.0}, r"pending -1\.0"),
        ({"most_pending": float("inf")}, "pending inf"),
        ({"ahead": float("nan")}, "ahead nan"),
        ({"ahead": "1"}, "ahead '1'"),
        ({"patience": 0}, "patience 0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_opens(
    manifest: Manifest, named: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        settle(manifest, **named)
    assert "\n" not in str(caught.value)
