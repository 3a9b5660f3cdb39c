"""Trust lists."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fixtures.signing import KeyPair

from echoexport.runtime.contract.signing.trust import (
    TRUST_VARIABLE,
    TrustedKey,
    TrustList,
    find_trust,
    read_moment,
    read_trust,
    trusting,
    write_trust,
)
from echoexport.runtime.errors import SignatureError


def test_a_list_reads_as_it_was_written(release: KeyPair, tmp_path: Path) -> None:
    key = release.trusted(valid_until="2030-01-01", compiled_only=True)
    trust = TrustList((key,), {"ab" * 32: "lost"}, {"cd" * 32: "draws a third eye"})
    write_trust(tmp_path / "trust.json", trust)
    assert read_trust(tmp_path / "trust.json") == trust


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (TrustedKey("short", "ab"), "not 32 bytes in hex"),
        (TrustedKey("", "ab" * 32), "a name of its own"),
        (TrustedKey("late", "ab" * 32, valid_until="tomorrow"), "a date is wanted"),
    ],
)
def test_what_is_no_key_is_not_written(tmp_path: Path, key: TrustedKey, told: str) -> None:
    with pytest.raises(SignatureError, match=told):
        write_trust(tmp_path / "trust.json", TrustList((key,)))
    assert not (tmp_path / "trust.json").exists()


def test_a_date_that_was_changed_by_hand_is_noticed(release: KeyPair, tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    write_trust(path, TrustList((release.trusted(valid_until="2026-01-01"),)))
    path.write_text(path.read_text().replace("2026", "2036"))
    with pytest.raises(SignatureError, match=r"trust\.json: its check sum"):
        read_trust(path)


def test_an_endless_list_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(b" " * (1 << 21))
    with pytest.raises(SignatureError, match="larger than"):
        read_trust(path)


def test_a_key_counts_from_its_first_moment_to_before_its_last() -> None:
    key = TrustedKey("k", "ab" * 32, valid_from="2027-01-01", valid_until="2027-02-01")
    utc = timezone.utc
    assert "not valid before" in (key.find_fault(datetime(2026, 12, 31, 23, 59, tzinfo=utc)) or "")
    assert key.find_fault(datetime(2027, 1, 1, tzinfo=utc)) is None
    assert key.find_fault(datetime(2027, 1, 31, 23, 59, tzinfo=utc)) is None
    assert "expired" in (key.find_fault(datetime(2027, 2, 1, tzinfo=utc)) or "")


def test_a_moment_says_its_own_zone() -> None:
    assert read_moment("2027-01-01T01:00:00+01:00") == read_moment("2027-01-01")


def test_a_variable_that_names_nothing_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "")
    with pytest.raises(SignatureError, match="is empty"):
        find_trust()


def test_a_list_holds_for_a_while_and_the_one_before_comes_back(
    trust_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "before")
    with trusting(trust_file):
        found = find_trust()
        assert found is not None
        assert found[0] == trust_file
        with trusting(None):
            assert find_trust() is None
    assert os.environ[TRUST_VARIABLE] == "before"
