"""Which of our modules a parameter belongs to.

Work and layer times are summed by these groups.
"""

from __future__ import annotations

import re

__all__ = ["GROUP_KINDS", "OTHER", "PLACES", "find_group", "split_group"]

PLACES = ("down", "mid", "up")
GROUP_KINDS = (
    "convolution",
    "self-attention",
    "cross-attention",
    "temporal",
    "feed-forward",
    "norm",
    "projection",
    "other",
)
OTHER = "other"

_PLACE = re.compile(r"(?:^|\.)(down|mid|up)_blocks?\.")
# The first that is found decides, so a motion module is temporal with its feed-forward
# and norms.
_KIND_OF_PART = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("temporal", r"(?:^|\.)motion_modules\."),
        (
            "norm",
            r"(?:^|\.)(?:norm\d*|norms\.\d+|group_norm|conv_norm_out|attn_ln|mlp_ln|ln_post"
            r"|layer_norm)\.",
        ),
        ("cross-attention", r"(?:^|\.)attn2\."),
        ("self-attention", r"(?:^|\.)(?:attn1?|reader)\.|(?:^|\.)attentions\.\d+\.to_"),
        ("feed-forward", r"(?:^|\.)(?:ff|mlp)\."),
        ("projection", r"(?:^|\.)proj_(?:in|out)\."),
        (
            "convolution",
            r"(?:^|\.)(?:resnets|downsamplers|upsamplers|\w*conv(?:\d+|_in|_out)?|blocks)\.",
        ),
    )
)


def find_group(parameter: str) -> str:
    """The group of a parameter by its name in the checkpoint.

    It is "PLACE/KIND" inside a UNet's or VAE's blocks, e.g. "down/self-attention", and
    KIND alone outside of them; "other" is what no rule knows. Places are ``PLACES``,
    kinds ``GROUP_KINDS``.
    """
    kind = next((kind for kind, pattern in _KIND_OF_PART if pattern.search(parameter)), OTHER)
    place = _PLACE.search(parameter)
    return f"{place[1]}/{kind}" if place else kind


def split_group(group: str) -> tuple[str, str]:
    """Place and kind of a group; the place is "" outside of blocks."""
    place, _, kind = group.rpartition("/")
    return place, kind
