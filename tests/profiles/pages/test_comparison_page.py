"""Comparisons of profiles as pages: escaped, with their culprits."""

from __future__ import annotations

import json
from collections.abc import Callable

from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.pages.comparison_page import (
    format_comparison_page,
)
from echoexport.profiles.reports.profile import (
    ProfileReport,
)
from echoexport.profiles.reports.profile_compare import ProfileComparison, compare_profiles
from echoexport.runtime.contract.schema import dump, parse


def test_a_comparison_comes_back_from_json_and_has_a_page(
    null_report: ProfileReport, slow_down: Callable[..., ProfileReport]
) -> None:
    comparison = compare_profiles(
        [null_report, slow_down(null_report, "vae_decoder", by=2)], ["a<b", "c&d"]
    )
    again = parse(ProfileComparison, json.loads(format_json(dump(comparison))), where="comparison")
    assert again == comparison
    page = format_comparison_page(comparison)
    assert page.startswith("<!DOCTYPE html>")
    assert "a&lt;b" in page and "a<b" not in page
    assert "vae_decoder is slower" in page
