"""What work cost lately, by its kind."""

from __future__ import annotations

import threading

import pytest

from echoexport.runtime.live.scheduling.costs import Costs


def test_what_was_never_told_costs_what_is_assumed() -> None:
    costs = Costs()
    assert costs.typical("draw") == 0.0
    assert costs.bad("draw", default=0.5) == 0.5


def test_the_median_and_the_worst_in_twenty_are_told() -> None:
    costs = Costs()
    for number in range(21):
        costs.tell("draw", number / 10)
    assert costs.typical("draw") == pytest.approx(1.0)
    assert costs.bad("draw") == pytest.approx(1.9)
    costs.tell("decode", 7.0)
    assert costs.typical("draw") == pytest.approx(1.0)
    assert costs.typical("decode") == costs.bad("decode") == 7.0


def test_one_slow_call_does_not_move_the_median() -> None:
    costs = Costs()
    for seconds in (0.1, 0.1, 30.0):
        costs.tell("draw", seconds)
    assert costs.typical("draw") == 0.1


def test_what_is_found_under_way_is_long_where_few_long_ones_lie_among_many_short_ones() -> None:
    costs = Costs()
    assert costs.under_way("spare") == 0.0
    for seconds in [0.003] * 30 + [0.04] * 10:  # 90 ms of pictures, 400 ms of the denoiser
        costs.tell("spare", seconds)
    assert costs.typical("spare") == 0.003
    assert costs.under_way("spare") == 0.04


def test_a_single_long_call_is_not_what_is_usually_under_way() -> None:
    costs = Costs()
    for seconds in [0.04] * 20 + [0.1]:
        costs.tell("spare", seconds)
    assert costs.under_way("spare") == 0.04


def test_only_the_latest_count() -> None:
    costs = Costs()
    for seconds in [9.0] * 1000 + [1.0] * 64:
        costs.tell("draw", seconds)
    assert costs.typical("draw") == costs.bad("draw") == 1.0
    assert len(costs._latest["draw"]) == 64


def test_threads_may_tell_and_ask_at_once() -> None:
    costs = Costs()
    failed: list[BaseException] = []

    def work(kind: str) -> None:
        try:
            for _ in range(2000):
                costs.tell(kind, 1.0)
                assert costs.typical("shared") in (0.0, 1.0)
                costs.tell("shared", 1.0)
        except BaseException as error:  # told in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert costs.bad("3") == 1.0


def test_the_least_is_the_quickest_of_the_latest() -> None:
    costs = Costs()
    assert costs.least("draw", default=0.5) == 0.5
    for seconds in (0.3, 0.1, 0.2):
        costs.tell("draw", seconds)
    assert costs.least("draw") == 0.1
