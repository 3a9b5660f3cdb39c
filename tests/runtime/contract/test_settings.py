"""The numbers of a bundle, in words."""

from __future__ import annotations

import pytest

from echoexport.runtime.contract.settings import spell_steps


@pytest.mark.parametrize(("steps", "told"), [(1, "1 step"), (2, "2 steps"), (30, "30 steps")])
def test_one_step_is_no_plural(steps: int, told: str) -> None:
    assert spell_steps(steps) == told
