"""What a processor's engines depend on."""

from __future__ import annotations

import pytest

from echoexport.runtime.engine.processor import describe_processor


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512f sse4_2 fma\n", "sse4_2 fma avx2 avx512f"),
        ("Features\t: fp asimd asimdhp bf16\nFeatures\t: fp\n", "asimd asimdhp bf16"),
        ("", "unknown"),
        ("flags\t: none of them\n", "unknown"),
    ],
)
def test_instructions_are_read_off_the_processors_own_list(text: str, instructions: str) -> None:
    assert describe_processor(text)["instructions"] == instructions
