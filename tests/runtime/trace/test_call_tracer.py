"""A tracer for months: engine calls are told as they end, and nothing is kept."""

from __future__ import annotations

from echoexport.runtime.trace.call_tracer import CallTracer


def test_engine_calls_are_told_and_nothing_else_is() -> None:
    told = list[tuple[str, float]]()
    tracer = CallTracer(lambda network, seconds: told.append((network, seconds)))
    with tracer.span("window", "sampling"), tracer.span("unet", "engine", network="unet"):
        pass
    tracer.record("unet", "engine", start=0, end=2, clock="device", network="unet")
    tracer.name_track("worker")
    assert [network for network, _ in told] == ["unet"]
    assert 0 <= told[0][1] < 1
    assert tracer.spans() == ()
