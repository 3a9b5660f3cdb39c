"""Recipes: found by name, each with a digest of every number in it."""

from __future__ import annotations

import pytest

from echoexport.export.demo.training.recipe import RECIPES, find_recipe
from echoexport.runtime.errors import UnknownNameError


def test_recipes_are_found_by_name() -> None:
    assert find_recipe("full").name == "full"
    assert {recipe.name for recipe in RECIPES.values()} == RECIPES.keys()
    with pytest.raises(UnknownNameError, match="full"):
        find_recipe("ful")


def test_every_number_of_a_recipe_is_in_its_digest() -> None:
    assert find_recipe("full").digest == "2d858b0f8142fe36"
    assert find_recipe("smoke").digest != find_recipe("full").digest
