"""The measures of pictures: differences made by hand, and masks that leave out what they should."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.profiles.quality.pictures import (
    compare_pictures,
    delta_e,
    grow_mask,
    psnr,
    ssim,
    ssim_map,
)
from echoexport.runtime.errors import InputError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


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
