"""The families of a release are the files of one folder, found by the names that they state."""

from __future__ import annotations

import pytest

from echoexport.runtime.contract.families import find_family, list_families
from echoexport.runtime.contract.manifest import FIRST_FAMILY
from echoexport.runtime.errors import UnknownNameError


def test_every_family_is_found_under_the_name_that_it_states() -> None:
    assert FIRST_FAMILY in list_families()
    for name in list_families():
        assert find_family(name).name == name


@pytest.mark.parametrize("name", list_families())
def test_a_familys_drives_and_optional_networks_are_its_own(name: str) -> None:
    family = find_family(name)
    assert len(set(family.networks)) == len(family.networks)
    assert {drive.network for drive in family.drives} | family.optional <= set(family.networks)


@pytest.mark.parametrize("name", ["echomimic-v9", "echomimic_v1", "", "../echomimic-v1", "os"])
def test_an_unknown_family_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown family .*; known: echomimic-v1"):
        find_family(name)
