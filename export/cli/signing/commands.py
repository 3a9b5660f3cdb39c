"""``echoexport sign`` and ``echoexport trust``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import FILE, warn
from echoexport.export.cli.signing.options import load_key
from echoexport.runtime.errors import SettingError, UnknownNameError

if TYPE_CHECKING:
    from echoexport.runtime.contract.signing.trust import TrustList

_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.command("sign")
@click.argument("bundle", type=FILE, required=False)
@click.option("--key", "key_file", type=FILE, metavar="FILE", help="The private key, as PEM.")
@click.option(
    "--new-key",
    type=FILE,
    metavar="FILE",
    help="Make a pair of keys instead: FILE, for its owner alone, and FILE.pub.",
)
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase for the new private key.")
def sign_command(
    bundle: Path | None, key_file: Path | None, new_key: Path | None, encrypt: bool
) -> None:
    """Sign a bundle's manifest, which holds the sha256 of every file; all are hashed before.

    Signatures of other keys stay, one of the same key is replaced. The passphrase of an
    encrypted key is ECHOEXPORT_KEY_PASSPHRASE, or is asked for.

    \b
    Example:
      echoexport sign --new-key release.pem
      echoexport sign bundle/ --key release.pem
      echoexport trust trust.json --add release.pem.pub --name release
      echoexport verify bundle/ --trust trust.json
    """
    if new_key is not None:
        if bundle is not None or key_file is not None:
            raise SettingError("--new-key makes keys and signs nothing; leave the rest out")
        _make_keys(new_key, encrypt=encrypt)
        return
    if bundle is None or key_file is None or encrypt:
        raise SettingError(
            "sign: a bundle and its --key are wanted, or --new-key alone (--encrypt goes with it)"
        )
    _sign(bundle, key_file)


def _make_keys(path: Path, *, encrypt: bool) -> None:
    import os

    from echoexport.runtime.contract.signing.keys import (
        KEY_PASSPHRASE,
        identify_key,
        write_key_pair,
    )

    passphrase = os.environ.get(KEY_PASSPHRASE) or None
    if encrypt and passphrase is None:
        passphrase = click.prompt(
            f"Passphrase of {path}", hide_input=True, confirmation_prompt=True, err=True
        )
    public = write_key_pair(path, passphrase=passphrase)
    lock = "encrypted" if passphrase else "not encrypted"
    click.echo(f"{path}: a new private key, {lock}; keep it off the boards")
    click.echo(f"{path}.pub: its public key, {identify_key(public)}")


def _sign(bundle: Path, key_file: Path) -> None:
    from echoexport.runtime.bundle.signing import sign_bundle
    from echoexport.runtime.contract.signing.keys import identify_key

    key = load_key(key_file)
    done = sign_bundle(bundle, key)
    if done.dropped:
        warn(f"{bundle}: {done.dropped} signatures of an earlier manifest were dropped")
    click.echo(
        f"{bundle}: manifest {done.manifest} signed by key {identify_key(key.public)[:16]}; "
        f"{done.signatures} signature{'s' if done.signatures > 1 else ''}"
    )


@click.command("trust")
@click.argument("file", type=FILE)
@click.option(
    "--add",
    type=FILE,
    metavar="FILE",
    help="Trust this public key. Of one in the list, what is given beside it changes alone; "
    "--remove it as well to begin anew.",
)
@click.option("--name", metavar="NAME", help="What people call the key that is added.")
@click.option("--from", "start", metavar="DATE", help="It does not count before; UTC.")
@click.option("--until", metavar="DATE", help="It does not count from then on; UTC.")
@click.option(
    "--compiled-only",
    is_flag=True,
    help="It vouches for engines compiled of a signed bundle alone: a board's own key.",
)
@click.option("--remove", metavar="NAME", help="Drop a key from the list.")
@click.option("--revoke-key", metavar="KEY", help="A key's name in the list, or its sha256.")
@click.option(
    "--revoke-bundle",
    metavar="BUNDLE",
    help="A bundle's folder, or the sha256 that 'echoexport sign' told of its manifest.",
)
@click.option("--reason", metavar="TEXT", help="Why it is revoked.")
def trust_command(file: Path, **options: str | Path | bool | None) -> None:
    """Change a trust list, or show it: whose signatures count, and what is revoked.

    \b
    Example:
      echoexport trust trust.json --add release.pem.pub --name release --until 2028-01-01
      echoexport trust trust.json --revoke-key release --reason 'laptop stolen'
    """
    from echoexport.runtime.contract.signing.trust import TrustList, read_trust, write_trust

    _check_trust_options(options)
    trust = read_trust(file) if file.exists() or options["add"] is None else TrustList()
    changes = ("add", "remove", "revoke_key", "revoke_bundle")
    if any(options[name] is not None for name in changes):
        trust = _change(trust, options)
        write_trust(file, trust)
    for line in describe_trust(trust):
        click.echo(line)


def _check_trust_options(options: dict[str, str | Path | bool | None]) -> None:
    """Raise SettingError where an option stands without the one that it belongs to."""
    of_a_key = (options["name"], options["start"], options["until"])
    given = options["compiled_only"] or any(one is not None for one in of_a_key)
    if given and options["add"] is None:
        raise SettingError("--name, --from, --until and --compiled-only go with --add")
    revoked = (options["revoke_key"], options["revoke_bundle"])
    if options["reason"] is not None and revoked == (None, None):
        raise SettingError("--reason goes with --revoke-key or --revoke-bundle")


def _change(trust: TrustList, options: dict[str, str | Path | bool | None]) -> TrustList:
    """Revoke, remove and add, in this order: what goes from the list is still found by name."""
    reason = "no reason given" if options["reason"] is None else str(options["reason"])
    removed, revoked, bundle = (options[name] for name in ("remove", "revoke_key", "revoke_bundle"))
    if revoked is not None:
        text = str(revoked)
        name = text if _DIGEST.fullmatch(text) else _find_key(trust, text)
        trust = replace(trust, revoked_keys={**trust.revoked_keys, name: reason})
    if bundle is not None:
        digest = _find_digest(str(bundle))
        trust = replace(trust, revoked_bundles={**trust.revoked_bundles, digest: reason})
    if removed is not None:
        _find_key(trust, str(removed))
        trust = replace(trust, keys=tuple(key for key in trust.keys if key.name != removed))
    return trust if options["add"] is None else _add_key(trust, options)


def _add_key(trust: TrustList, options: dict[str, str | Path | bool | None]) -> TrustList:
    """A key at the end of the list, or changed in its place: there nothing is widened unasked."""
    from echoexport.runtime.contract.signing.keys import read_public_key
    from echoexport.runtime.contract.signing.trust import TrustedKey

    path = Path(str(options["add"]))
    public = read_public_key(path).hex()
    fields = {"name": "name", "start": "valid_from", "until": "valid_until"}
    given: dict[str, Any] = {
        field: str(options[option])
        for option, field in fields.items()
        if options[option] is not None
    }
    if options["compiled_only"]:
        given["compiled_only"] = True
    if any(one.key == public for one in trust.keys):
        keys = [replace(one, **given) if one.key == public else one for one in trust.keys]
    else:
        named = {"name": path.name.removesuffix(".pub"), **given}
        keys = [*trust.keys, TrustedKey(key=public, **named)]
    return replace(trust, keys=tuple(keys))


def _find_key(trust: TrustList, name: str) -> str:
    for key in trust.keys:
        if key.name == name:
            return key.id
    raise UnknownNameError("key", name, known=[key.name for key in trust.keys])


def _find_digest(bundle: str) -> str:
    from echoexport.runtime.bundle.signing import read_digest

    return bundle if _DIGEST.fullmatch(bundle) else read_digest(Path(bundle))


def describe_trust(trust: TrustList) -> list[str]:
    """A line for each key, and for each thing that is revoked."""
    lines = []
    for key in trust.keys:
        limits = [f"from {key.valid_from}"] if key.valid_from else []
        limits += [f"until {key.valid_until}"] if key.valid_until else []
        limits += ["compiled bundles alone"] if key.compiled_only else []
        limits += ["REVOKED"] if key.id in trust.revoked_keys else []
        lines.append(f"key     {key.name}  {key.id}  {', '.join(limits) or 'no limits'}")
    lines += [f"revoked key     {name}  {why}" for name, why in trust.revoked_keys.items()]
    lines += [f"revoked bundle  {name}  {why}" for name, why in trust.revoked_bundles.items()]
    return lines
