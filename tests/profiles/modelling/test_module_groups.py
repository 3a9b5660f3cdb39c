"""Groups of parameters: place and kind by name, temporal before all, and what no rule knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.modelling.module_groups import (
    GROUP_KINDS,
    OTHER,
    PLACES,
    find_group,
    split_group,
)


@pytest.mark.parametrize(
    ("parameter", "group"),
    [
        ("down_blocks.0.resnets.0.conv1.weight", "down/convolution"),
        ("down_blocks.0.resnets.0.norm1.weight", "down/norm"),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight", "mid/self-attention"),
        ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", "mid/cross-attention"),
        ("up_blocks.2.attentions.1.transformer_blocks.0.ff.net.2.bias", "up/feed-forward"),
        ("up_blocks.2.attentions.1.proj_in.weight", "up/projection"),
        # a motion module is temporal with its feed-forward and norms
        ("up_blocks.1.motion_modules.0.transformer_blocks.0.ff.net.0.proj.weight", "up/temporal"),
        ("conv_in.weight", "convolution"),
        ("conv_norm_out.weight", "norm"),
        ("blocks.3.attn.query.weight", "self-attention"),
        ("blocks.3.mlp.0.weight", "feed-forward"),
        ("positional_embedding", "other"),
    ],
)
def test_a_parameter_is_of_the_module_that_its_name_says(parameter: str, group: str) -> None:
    assert find_group(parameter) == group


@given(st.text(alphabet="abcdefnortmulxw012._", max_size=60))
def test_any_name_has_a_group_of_known_words(parameter: str) -> None:
    place, kind = split_group(find_group(parameter))
    assert place in ("", *PLACES)
    assert kind in GROUP_KINDS


def test_a_group_splits_into_place_and_kind() -> None:
    assert split_group("down/self-attention") == ("down", "self-attention")
    assert split_group(OTHER) == ("", "other")
