"""A network's work: what is counted adds up, and nothing below zero is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.contract.network_work import NetworkWork, Work, add_up

FIELDS = tuple(Work.__dataclass_fields__)
WORKS = st.builds(Work, **{name: st.integers(0, 10**15) for name in FIELDS})


def test_operations_are_multiplications_and_all_others() -> None:
    work = Work(mac_flops=100, weighted_flops=60, int8_flops=40, other_flops=7)
    assert work.flops == 107  # the weighted and the int8 part are among the 100


def test_bytes_are_weights_and_what_fusion_leaves_of_activations() -> None:
    work = Work(weight_bytes=1000, activation_bytes=500, fused_bytes=30)
    assert (work.bytes, work.unfused_bytes) == (1030, 1500)


@pytest.mark.parametrize("name", FIELDS)
def test_less_than_nothing_is_refused_with_the_fields_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"work: {name} is -1; 0 or more is wanted"):
        Work(**{name: -1})


@given(st.lists(WORKS, max_size=5))
def test_a_sum_is_the_sum_of_every_field(works: list[Work]) -> None:
    total = add_up(tuple(works))
    for name in FIELDS:
        assert getattr(total, name) == sum(getattr(work, name) for work in works)


def test_the_sum_of_nothing_is_nothing() -> None:
    assert add_up(()) == Work()


def test_a_networks_work_is_that_of_all_its_groups() -> None:
    down = Work(mac_flops=8, other_flops=1, weight_bytes=4, fused_bytes=2, kernels=3)
    up = Work(mac_flops=16, weight_bytes=32, activation_bytes=64, kernels=1)
    work = NetworkWork({"down/convolution": down, "up/convolution": up})
    assert work.total == Work(24, 0, 0, 1, 36, 64, 2, 4)
    assert (work.flops, work.bytes) == (25, 38)
