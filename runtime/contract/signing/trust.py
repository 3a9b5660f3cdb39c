"""A trust list: whose signatures count, from when until when, and what is revoked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from echoexport.runtime.contract.signing.keys import identify_key
from echoexport.runtime.contract.signing.sealed_json import read_sealed_json, write_sealed_json
from echoexport.runtime.errors import SignatureError

__all__ = [
    "TRUST_VARIABLE",
    "TrustList",
    "TrustedKey",
    "find_trust",
    "read_moment",
    "read_trust",
    "trusting",
    "write_trust",
]

TRUST_VARIABLE = "ECHOEXPORT_TRUST"
"""The environment variable that names the trust list of every bundle that is opened."""

_FORM = "echoexport-trust"
_HEX = re.compile(r"[0-9a-f]{64}")
_REMEDY = "copy it again, or make it anew with 'echoexport trust'"


@dataclass(frozen=True)
class TrustedKey:
    """One key whose signatures count."""

    name: str
    """What people call it; each once in a list."""
    key: str
    """The public key, 32 bytes in hex."""
    valid_from: str | None = None
    """The moment in UTC, ISO 8601, before which it does not count; None for no such."""
    valid_until: str | None = None
    """The moment from which it does not count any more."""
    compiled_only: bool = False
    """Whether it vouches for nothing but engines compiled of a bundle that another key signed."""

    @property
    def id(self) -> str:
        """The key's name in signatures."""
        return identify_key(bytes.fromhex(self.key))

    def find_fault(self, now: datetime) -> str | None:
        """Why it does not count at this moment, None where it does."""
        if self.valid_from is not None and now < read_moment(self.valid_from):
            return f"is not valid before {self.valid_from}; is this machine's clock right?"
        if self.valid_until is not None and now >= read_moment(self.valid_until):
            return f"expired on {self.valid_until}; have the bundle signed by a newer key"
        return None


@dataclass(frozen=True)
class TrustList:
    """Keys, and what is revoked: each with the reason."""

    keys: tuple[TrustedKey, ...] = ()
    revoked_keys: Mapping[str, str] = field(default_factory=dict)
    """By a key's id."""
    revoked_bundles: Mapping[str, str] = field(default_factory=dict)
    """By the check sum of a manifest."""


def read_trust(path: Path) -> TrustList:
    """A trust list from its file.

    Raises:
        SignatureError: it cannot be read, is damaged, or holds what is no key or moment.
    """
    found = read_sealed_json(path, TrustList, form=_FORM, remedy=_REMEDY)
    try:
        check_trust(found)
    except ValueError as error:
        raise SignatureError(f"{path}: {error}; {_REMEDY}") from error
    return found


def write_trust(path: Path, trust: TrustList) -> None:
    """Write a trust list, whole or not at all.

    Raises:
        SignatureError: it holds what is no key or moment. OutputError: it cannot be
            written.
    """
    try:
        check_trust(trust)
    except ValueError as error:
        raise SignatureError(f"{path}: {error}; not written") from error
    write_sealed_json(path, trust, form=_FORM)


def check_trust(trust: TrustList) -> None:
    """Raise ``ValueError`` where a list breaks a rule: hex, moments, and each name once."""
    names = [key.name for key in trust.keys]
    for key in trust.keys:
        if not _HEX.fullmatch(key.key):
            raise ValueError(f"key {key.name[:60]!r}: not 32 bytes in hex")
        if not key.name or names.count(key.name) > 1:
            raise ValueError(f"key {key.name[:60]!r}: a name of its own is wanted")
        for moment in (key.valid_from, key.valid_until):
            if moment is not None:
                read_moment(moment)
    for digest in (*trust.revoked_keys, *trust.revoked_bundles):
        if not _HEX.fullmatch(digest):
            raise ValueError(f"revoked: {digest[:70]!r} is no sha256 in hex")


def read_moment(text: str) -> datetime:
    """A date, which is its first moment, or a date and time; UTC where it does not say.

    Raises:
        ValueError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r}: a date is wanted, e.g. 2027-01-31 or 2027-01-31T12:00:00+00:00"
        ) from None
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found


def find_trust(given: Path | None = None) -> tuple[Path, TrustList] | None:
    """The list that bundles must satisfy, ``given`` or the environment's; None for none.

    Raises:
        SignatureError: it cannot be used, or the variable is there and names nothing:
            to pass over that would open what nobody signed.
    """
    if given is None:
        named = os.environ.get(TRUST_VARIABLE)
        if named is None:
            return None
        if not named:
            raise SignatureError(f"{TRUST_VARIABLE} is empty; name a trust list, or unset it")
        given = Path(named)
    return given, read_trust(given)


@contextmanager
def trusting(path: Path | None) -> Iterator[None]:
    """A trust list for this process and those that it starts; None asks for no signatures."""
    before = os.environ.pop(TRUST_VARIABLE, None)
    if path is not None:
        os.environ[TRUST_VARIABLE] = os.fspath(path.absolute())
    try:
        yield
    finally:
        os.environ.pop(TRUST_VARIABLE, None)
        if before is not None:
            os.environ[TRUST_VARIABLE] = before
