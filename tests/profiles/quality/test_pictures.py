"""The measures of pictures.

Published colour pairs, hand-made differences, masks that leave out what they should.
"""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.profiles.quality.colour import ciede2000, rgb_to_lab
from echoexport.profiles.quality.motion import drift, flicker
from echoexport.profiles.quality.pictures import (
    compare_pictures,
    delta_e,
    grow_mask,
    psnr,
    ssim,
    ssim_map,
)
from echoexport.runtime.errors import InputError

# Test pairs of Sharma, Wu and Dalal (2005), table 1: two Lab colours and their
# difference.
PUBLISHED = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.4900 -0.0010 50 -2.4900 0.0009 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0010 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0011 7.2195
50 2.4900 -0.0010 50 -2.4900 0.0012 7.2195
50 -0.0010 2.4900 50 0.0009 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0010 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0011 -2.4900 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_colour_difference_gives_the_published_values() -> None:
    table = np.array(
        [[float(word) for word in line.split()] for line in PUBLISHED.split("\n") if line]
    )
    assert table.shape == (34, 7)
    np.testing.assert_allclose(ciede2000(table[:, :3], table[:, 3:6]), table[:, 6], atol=1e-4)
    np.testing.assert_allclose(ciede2000(table[:, 3:6], table[:, :3]), table[:, 6], atol=1e-4)


def test_the_colour_difference_of_single_precision_stays_close() -> None:
    table = np.array(
        [[float(word) for word in line.split()] for line in PUBLISHED.split("\n") if line],
        np.float32,
    )
    found = ciede2000(table[16:, :3], table[16:, 3:6])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, table[16:, 6], atol=2e-3)


def test_srgb_primaries_have_their_known_lab_values() -> None:
    levels = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(rgb_to_lab(levels), known, atol=0.05)


def test_psnr_of_a_constant_error_is_the_formula() -> None:
    picture = np.full((2, 16, 16, 3), 100, np.uint8)
    np.testing.assert_allclose(psnr(picture, picture[0] - 10), 10 * np.log10(255**2 / 100))


def test_psnr_of_equal_pictures_is_the_cap() -> None:
    assert psnr(noise(16, 16), noise(16, 16)).tolist() == [60.0]


def test_ssim_is_one_for_equal_pictures_and_low_for_unrelated_ones() -> None:
    assert ssim(noise(40, 40), noise(40, 40))[0] == pytest.approx(1.0, abs=1e-4)
    assert ssim(noise(40, 40), noise(40, 40, seed=1))[0] < 0.1


def test_ssim_equals_a_sum_over_the_window_done_plainly() -> None:
    one = noise(24, 24)
    other = (noise(24, 24) // 2 + noise(24, 24, seed=1) // 2).astype(np.uint8)
    x, y = (picture.astype(float) @ [0.299, 0.587, 0.114] for picture in (one, other))
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    a = x[7:18, 7:18]
    b = y[7:18, 7:18]
    mean_a = (window * a).sum()
    mean_b = (window * b).sum()
    var_a = (window * (a - mean_a) ** 2).sum()
    var_b = (window * (b - mean_b) ** 2).sum()
    shared = (window * (a - mean_a) * (b - mean_b)).sum()
    c1 = 2.55**2
    c2 = 7.65**2
    wanted = (
        (2 * mean_a * mean_b + c1)
        * (2 * shared + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )
    assert ssim_map(one, other)[12, 12] == pytest.approx(wanted, abs=1e-4)


def test_what_is_masked_out_does_not_count() -> None:
    picture = noise(40, 40)
    spoilt = noise(40, 40)
    spoilt[10:20, 10:20] = 0
    touched = np.zeros((40, 40), bool)
    touched[10:20, 10:20] = True
    match = compare_pictures(spoilt[None], picture, ~grow_mask(touched, pixels=5))
    assert match.psnr == 60.0
    assert match.ssim == pytest.approx(1.0, abs=1e-4)
    assert match.delta_e == pytest.approx(0.0, abs=1e-4)


def test_each_frame_may_have_its_own_reference() -> None:
    frames = noise(3, 16, 16)
    assert delta_e(frames, frames).max() < 1e-4
    assert delta_e(frames, frames[0])[1] > 10


def test_a_grown_mask_reaches_so_many_pixels_every_way() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 1] = True
    grown = grow_mask(mask, pixels=2)
    assert grown[2:7, :4].all()
    assert grown.sum() == 20


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="0 pixels"):
        psnr(noise(8, 8), noise(8, 8), np.zeros((8, 8), bool))


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="of one size"):
        ssim(noise(8, 8), noise(8, 9))


def test_flicker_is_the_mean_change_whichever_way() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1] = 250
    assert flicker(frames) == 250.0


def test_flicker_outside_a_mask_is_not_seen() -> None:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    frames[1, 0] = 9
    mask = np.ones((4, 4), bool)
    mask[0] = False
    assert flicker(frames, mask) == 0.0


def test_one_frame_has_no_flicker() -> None:
    with pytest.raises(InputError, match="two or more"):
        flicker(np.zeros((1, 4, 4, 3), np.uint8))


def test_drift_tells_the_first_frames_from_the_last() -> None:
    portrait = noise(16, 16) // 2
    frames = np.repeat(portrait[None], 10, axis=0)
    frames[-3:] += 20
    found = drift(frames, portrait, span=3)
    assert found.first.psnr == 60.0
    assert found.last.psnr == pytest.approx(10 * np.log10(255**2 / 400))
    assert found.last.delta_e > 3
