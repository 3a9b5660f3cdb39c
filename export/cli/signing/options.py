"""``--require-signed`` and ``--trust`` of every command that opens a bundle."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from echoexport.export.cli.options import FILE
from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    from echoexport.runtime.contract.signing.keys import SigningKey
    from echoexport.runtime.contract.signing.trust import TrustedKey

__all__ = [
    "SIGNED_OPTIONS",
    "asking_for_signatures",
    "describe_signers",
    "is_signature_required",
    "load_key",
    "sign_option",
    "signed_options",
    "unsigned_allowed",
]

SIGNED_OPTIONS = frozenset({"--require-signed", "--trust"})
_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


def signed_options(command: _CommandT) -> _CommandT:
    """Give a command both options, and let it open signed bundles alone where they say so.

    The whole process and those that it starts then do, whichever part opens a bundle.
    """

    @functools.wraps(command)
    def call(*args: Any, require_signed: bool, trust: Path | None, **kwargs: Any) -> Any:
        with asking_for_signatures(trust, required=require_signed):
            return command(*args, **kwargs)

    return click.option(  # type: ignore[return-value]  # wraps keeps the options given so far
        "--require-signed",
        is_flag=True,
        help="Open no bundle that is not signed by a key of the trust list.",
    )(
        click.option(
            "--trust",
            type=FILE,
            metavar="FILE",
            help="The trust list; it implies --require-signed. Default: $ECHOEXPORT_TRUST.",
        )(call)
    )


@contextmanager
def asking_for_signatures(trust: Path | None, *, required: bool) -> Iterator[None]:
    """Signed bundles alone are opened where a trust list is named, here or in the environment.

    Raises:
        SettingError: they are required, and none is named.
    """
    from echoexport.runtime.contract.signing.trust import TRUST_VARIABLE, find_trust, trusting

    if trust is not None:
        with trusting(trust):
            find_trust()  # a list that cannot be used is told before the long work
            yield
        return
    if required and find_trust() is None:
        raise SettingError(
            f"--require-signed: by whom? Name a trust list: --trust FILE, or {TRUST_VARIABLE}"
        )
    yield


def is_signature_required() -> bool:
    """Whether a trust list is named, so that no cache may stand in for a bundle's own files."""
    from echoexport.runtime.contract.signing.trust import TRUST_VARIABLE

    return TRUST_VARIABLE in os.environ


def unsigned_allowed(command: _CommandT) -> _CommandT:
    """A command that makes bundles, and opens none but those it makes, asks for no signatures."""

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        from echoexport.runtime.contract.signing.trust import trusting

        with trusting(None):
            return command(*args, **kwargs)

    return call  # type: ignore[return-value]


sign_option = click.option(
    "--sign",
    "key_file",
    type=FILE,
    metavar="FILE",
    help="Sign what is made with this private key ('echoexport sign --new-key' makes one).",
)


def load_key(path: Path) -> SigningKey:
    """A private key, its passphrase asked for on a terminal where no variable has it.

    Raises:
        SignatureError: it cannot be used.
    """
    import sys

    from echoexport.runtime.contract.signing.keys import read_signing_key

    def ask() -> str:
        found: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        return found

    return read_signing_key(path, ask=ask if sys.stdin.isatty() else None)


def describe_signers(signers: Iterable[TrustedKey]) -> Iterator[str]:
    """A line for each."""
    for key in signers:
        until = "" if key.valid_until is None else f", until {key.valid_until}"
        yield f"signed by {key.name} ({key.id[:16]}{until})"
