"""Figures count what happens and are written as Prometheus reads them."""

from __future__ import annotations

import pytest

from echoexport.runtime.serve.figures import ServeFigures


def test_what_happens_is_counted() -> None:
    pytest.importorskip("prometheus_client")
    figures = ServeFigures()
    figures.watch("depth", "How deep.", lambda: 3.5)
    figures.count_session()
    figures.count_refused()
    figures.count_cut(2)
    figures.count_first_frame(0.25)
    for late in (0.0, 0.0, 0.05):
        figures.count_frame(late=late)
    figures.count_interval(0.04)
    figures.count_call("vae_decoder", 0.003)
    figures.count_call("vae_decoder", 0.004)
    figures.count_rung(down=True)
    lines = figures.write().decode().splitlines()
    for line in (
        "echoexport_depth 3.5",
        "echoexport_sessions_opened_total 1.0",
        "echoexport_sessions_refused_total 1.0",
        "echoexport_viewers_cut_total 2.0",
        "echoexport_frames_total 3.0",
        "echoexport_late_seconds_count 1.0",
        'echoexport_frame_interval_seconds_bucket{le="0.04"} 1.0',
        'echoexport_engine_call_seconds_count{network="vae_decoder"} 2.0',
        'echoexport_engine_call_seconds_sum{network="vae_decoder"} 0.007',
        'echoexport_ladder_steps_total{direction="down"} 1.0',
        'echoexport_ladder_steps_total{direction="up"} 0.0',
        'echoexport_first_frame_seconds_bucket{le="0.2"} 0.0',
        'echoexport_first_frame_seconds_bucket{le="0.3"} 1.0',
    ):
        assert line in lines


def test_a_gauge_that_is_watched_again_reads_what_was_given_last() -> None:
    pytest.importorskip("prometheus_client")
    figures = ServeFigures()
    for value in (1.0, 2.0):
        figures.watch("waiting", "What waits.", lambda value=value: value)
    assert "echoexport_waiting 2.0" in figures.write().decode()
