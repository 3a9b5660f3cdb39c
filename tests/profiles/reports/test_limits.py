"""Limits that profiles are held to.

What is one, which figure it is about, and when it is broken.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.reports.limits import (
    Limit,
    Metric,
    check_limit,
    compare_metric,
    list_metrics,
    parse_limit,
)
from echoexport.profiles.reports.profile import ProfileReport, make_timing
from echoexport.runtime.errors import SettingError

METRICS = {
    "p99": Metric("p99", 0.041, "seconds", ((0.02, 0.041),) * 3, "p99"),
    "fps": Metric("fps", 24.0, "fps"),
    "peak_memory": Metric("peak_memory", 3e9, "bytes"),
    "rtf": Metric("rtf", 1.2, ""),
}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("p99>40ms", ("p99", True, 40.0, "ms", False)),
        ("fps<25", ("fps", False, 25.0, "", False)),
        (" peak_memory > 2.5 GB ", ("peak_memory", True, 2.5, "GB", False)),
        ("rtf>1", ("rtf", True, 1.0, "", False)),
        ("denoising_unet.p50>+5%", ("denoising_unet.p50", True, 0.05, "", True)),
        ("fps<-10%", ("fps", False, -0.1, "", True)),
    ],
)
def test_limits_are_a_figure_a_sign_a_value_and_a_unit(
    text: str, limit: tuple[str, bool, float, str, bool]
) -> None:
    assert parse_limit(text) == Limit(*limit, text=text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p99",
        "p99>",
        ">40ms",
        "p99>=40ms",
        "p99>40 parsecs",
        "p99>5%",
        "p99>+5ms",
        "p99>nan",
        "p99>1e3ms",
        "p99>40ms x",
        "p99==1",
        "P99>1s",
        "p99>+5",
        "p99>40ms;fps<25",
        "fps<" + "9" * 40,
    ],
)
def test_what_is_no_limit_is_refused_in_a_line_that_names_it(text: str) -> None:
    with pytest.raises(SettingError, match="--fail-if") as error:
        parse_limit(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(max_size=30))
def test_any_text_is_a_limit_or_refused(text: str) -> None:
    try:
        limit = parse_limit(text)
    except SettingError:
        return
    assert limit.value >= 0 or limit.relative


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("p99>40ms", True),
        ("p99>41ms", False),
        ("p99>0.04s", True),
        ("fps<25", True),
        ("fps<24", False),
        ("fps>23fps", True),
        ("peak_memory>2GB", True),
        ("peak_memory>4000MB", False),
        ("rtf>1", True),
    ],
)
def test_an_absolute_limit_is_broken_beyond_its_value(text: str, broken: bool) -> None:
    told = check_limit(parse_limit(text), METRICS, baseline=None, label="here")
    assert bool(told) == broken
    assert not broken or told.startswith(f"here: {text}: {parse_limit(text).metric} is ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p98>40ms", "try p99"),
        ("p99>40GB", "units us, ms, s"),
        ("p99>40", "not ''"),
        ("rtf>1ms", "none"),
    ],
)
def test_a_limit_on_what_is_not_there_or_of_another_unit_is_refused(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check_limit(parse_limit(text), METRICS, baseline=None, label="here")


def make_metric(*samples: tuple[float, ...], figure: str = "p50") -> Metric:
    timing = make_timing(samples)
    assert timing is not None
    rate = figure.startswith("1/")
    value = getattr(timing.figures, figure.removeprefix("1/"))
    return Metric("m", 1 / value if rate else value, "fps" if rate else "seconds", samples, figure)


SAME = ((1.0, 1.01),) * 4
SLOWER = ((1.2, 1.21),) * 4
WIDE = ((0.5, 3.0), (0.6, 2.0), (1.4, 0.9), (2.5, 0.7))


@pytest.mark.parametrize(
    ("text", "samples", "broken"),
    [
        ("m>+5%", SLOWER, True),
        ("m>+30%", SLOWER, False),
        ("m>+5%", SAME, False),
        ("m<-5%", SLOWER, False),
        ("m>+5%", WIDE, False),  # half as slow again by its median, but it might be chance
    ],
)
def test_a_change_is_broken_beyond_its_share_and_the_noise(
    text: str, samples: tuple[tuple[float, ...], ...], broken: bool
) -> None:
    baseline = {"m": make_metric(*SAME)}
    metric = {"m": make_metric(*samples)}
    assert bool(check_limit(parse_limit(text), metric, baseline=baseline, label="here")) == broken


def test_a_change_says_nothing_of_the_first_profile() -> None:
    assert check_limit(parse_limit("p99>+5%"), METRICS, baseline=None, label="here") == ""


def test_a_rate_changes_the_other_way_round() -> None:
    change = compare_metric(
        make_metric(*SAME, figure="1/p50"), make_metric(*SLOWER, figure="1/p50")
    )
    assert change.ratio == pytest.approx(1.005 / 1.205)
    assert change.low is not None and change.high is not None
    assert change.low <= change.ratio <= change.high < 1


def test_figures_without_samples_are_compared_as_they_are() -> None:
    change = compare_metric(METRICS["peak_memory"], replace(METRICS["peak_memory"], value=6e9))
    assert (change.ratio, change.low, change.exceeds_noise) == (2.0, None, False)
    limit = parse_limit("peak_memory>+5%")
    larger = {"peak_memory": replace(METRICS["peak_memory"], value=6e9)}
    assert "peak_memory is 6.0 GB, +100.0 %" in check_limit(
        limit, larger, baseline=METRICS, label="here"
    )


def test_a_profile_has_figures_of_frames_stages_and_networks(null_report: ProfileReport) -> None:
    metrics = list_metrics(null_report)
    assert {
        "fps",
        "rtf",
        "first_frame",
        "p50",
        "p99",
        "max",
        "load",
        "bundle",
        "decode.p50",
        "denoising_unet.p99",
        "overlapped.denoising_unet.p50",
        "overlapped.decode.max",
    } <= set(metrics)
    turns = null_report.modes[-1].network("vae_decoder")
    overlapped = null_report.modes[0].network("vae_decoder")
    assert turns is not None and overlapped is not None
    assert metrics["vae_decoder.p50"].value == turns.host.figures.p50
    assert metrics["overlapped.vae_decoder.p50"].value == overlapped.host.figures.p50
    assert "energy" not in metrics or metrics["energy"].value > 0
