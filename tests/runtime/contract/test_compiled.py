"""What a compiled bundle says of its engines: a section that breaks its rules is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import BundleError


def drop_network(section: dict[str, Any]) -> None:
    del section["engines"]["vae_decoder"]


def drop_files(section: dict[str, Any]) -> None:
    section["engines"]["vae_decoder"]["files"] = []


def name_other_file(section: dict[str, Any]) -> None:
    section["engines"]["vae_decoder"]["files"] = ["engines/other.json"]


def exceed_tolerance(section: dict[str, Any]) -> None:
    section["engines"]["vae_decoder"]["error"] = 1.0


def misname_compute(section: dict[str, Any]) -> None:
    section["engines"]["vae_decoder"]["compute"] = "fp8"


def add_key(section: dict[str, Any]) -> None:
    section["speed"] = 1


def drop_key(section: dict[str, Any]) -> None:
    del section["fingerprint"]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (drop_network, "compiled: engines of .*wanted: those of vae_encoder, .*vae_decoder"),
        (drop_files, "compiled: vae_decoder: no file"),
        (
            name_other_file,
            r"compiled: vae_decoder: \['engines/other.json'\]: not in the manifest's table",
        ),
        (exceed_tolerance, "compiled: vae_decoder: error 1.0 with a tolerance of 0.0005"),
        (misname_compute, "compiled: vae_decoder: compute 'fp8'; known: fp32, bf16"),
        (add_key, "compiled: unknown key 'speed'"),
        (drop_key, "compiled: missing key 'fingerprint'"),
    ],
)
def test_a_section_that_breaks_its_rules_is_refused(
    change_compiled: Callable[..., Path], fault: Callable[[dict[str, Any]], None], wanted: str
) -> None:
    folder = change_compiled(lambda data: fault(data["compiled"]))
    with pytest.raises(BundleError, match=wanted):
        read_manifest(folder)
