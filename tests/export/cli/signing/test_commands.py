"""``echoexport sign`` and ``echoexport trust``, and what opens where signatures are required."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from fixtures.signing import KeyPair

from echoexport.runtime.bundle.signing import sign_bundle
from echoexport.runtime.contract.signing.keys import KEY_PASSPHRASE, identify_key, read_signing_key
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.contract.signing.trust import (
    TRUST_VARIABLE,
    TrustedKey,
    TrustList,
    read_trust,
    write_trust,
)


def test_keys_trust_and_a_signature_are_made_and_checked(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    key = tmp_path / "k.pem"
    trust = tmp_path / "trust.json"
    assert command("sign", "--new-key", key).code == 0
    signed = command("sign", null_bundle, "--key", key)
    assert signed.out.rstrip().endswith("1 signature")
    name = identify_key(read_signing_key(key).public)
    added = command("trust", trust, "--add", f"{key}.pub", "--name", "k", "--until", "2099-01-01")
    assert added.out == f"key     k  {name}  until 2099-01-01\n"
    verified = command("verify", null_bundle, "--files-only", "--trust", trust)
    assert verified.out.splitlines()[0] == f"signed by k ({name[:16]}, until 2099-01-01)"


def test_a_new_key_takes_the_passphrase_of_the_variable(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv(KEY_PASSPHRASE, "correct horse")
    outcome = command("sign", "--new-key", tmp_path / "k.pem")
    assert "encrypted" in outcome.out.splitlines()[0]
    assert "not encrypted" not in outcome.out
    assert b"ENCRYPTED" in (tmp_path / "k.pem").read_bytes()


@pytest.mark.parametrize("given", [(), ("--key", "k.pem"), ("bundle",), ("b", "--new-key", "k")])
def test_signing_says_what_it_wants(refusal: Callable[..., str], given: tuple[str, ...]) -> None:
    assert "--new-key" in refusal("sign", *given)


def test_a_key_and_a_bundle_are_revoked_and_shown(
    command: Callable[..., Any], signed_bundle: Path, trust_file: Path, release: KeyPair
) -> None:
    command("trust", trust_file, "--revoke-bundle", signed_bundle, "--reason", "third eye")
    outcome = command("trust", trust_file, "--revoke-key", "release", "--reason", "stolen")
    assert f"revoked key     {release.id}  stolen" in outcome.out
    assert list(read_trust(trust_file).revoked_bundles.values()) == ["third eye"]
    assert command("trust", trust_file).out == outcome.out


def test_a_key_leaves_the_list_by_its_name(
    command: Callable[..., Any], refusal: Callable[..., str], trust_file: Path
) -> None:
    assert "known: release" in refusal("trust", trust_file, "--remove", "nobody")
    assert command("trust", trust_file, "--remove", "release").out == ""


def test_adding_a_known_key_changes_what_is_given_alone(
    command: Callable[..., Any], board: KeyPair, release: KeyPair, trust_file: Path
) -> None:
    public = f"{board.path}.pub"
    command("trust", trust_file, "--add", public, "--from", "2020-01-01")
    outcome = command("trust", trust_file, "--add", public, "--until", "2099-01-01")
    assert outcome.code == 0, outcome
    assert read_trust(trust_file).keys == (
        release.trusted(),
        TrustedKey("board", board.trusted().key, "2020-01-01", "2099-01-01", compiled_only=True),
    )


def test_a_key_that_is_removed_and_added_begins_anew(
    command: Callable[..., Any], board: KeyPair, trust_file: Path
) -> None:
    public = f"{board.path}.pub"
    outcome = command("trust", trust_file, "--remove", "board", "--add", public, "--name", "b")
    assert outcome.code == 0, outcome
    assert read_trust(trust_file).keys[1] == board.trusted("b")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--remove", "release", "--compiled-only"), "--compiled-only go with --add"),
        (("--revoke-key", "release", "--until", "2099-01-01"), "--until"),
        (("--name", "x"), "go with --add"),
        (("--remove", "release", "--reason", "stolen"), "--reason goes with"),
    ],
)
def test_an_option_of_another_change_is_refused(
    refusal: Callable[..., str], trust_file: Path, given: tuple[str, ...], named: str
) -> None:
    before = trust_file.read_bytes()
    assert named in refusal("trust", trust_file, *given)
    assert trust_file.read_bytes() == before


def test_a_key_is_revoked_and_removed_in_one_call(
    command: Callable[..., Any], trust_file: Path, release: KeyPair
) -> None:
    line = ["--revoke-key", "release", "--remove", "release"]
    assert command("trust", trust_file, *line).code == 0
    found = read_trust(trust_file)
    assert found.keys == ()
    assert dict(found.revoked_keys) == {release.id: "no reason given"}


def test_a_list_that_is_not_there_is_made_only_by_adding(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    assert "none.json" in refusal("trust", tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


def open_with(name: str, bundle: Path, portrait: Path, voice: Path, output: Path) -> list[object]:
    """A command line that opens a bundle."""
    speech = ["-p", portrait, "-v", voice]
    return {
        "run": ["run", bundle, *speech, "-o", output],
        "live": ["live", bundle, *speech, "-o", output],
        "serve": ["serve", bundle, "-p", portrait],
        "compile": ["compile", bundle, "-o", output],
        "profile": ["profile", bundle, "-o", output],
        "compare": ["compare", bundle, bundle.parent, *speech],
        "calibrate": ["calibrate", bundle, "-o", output],
        "verify": ["verify", bundle],
        "tune": ["tune", bundle, *speech, "-o", output],
    }[name]


OPENING = ("run", "live", "serve", "compile", "profile", "compare", "tune", "calibrate", "verify")


@pytest.mark.parametrize("name", OPENING)
def test_a_command_opens_no_unsigned_bundle_where_signatures_are_required(
    refusal: Callable[..., str],
    null_bundle: Path,
    trust_file: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    output = tmp_path / "out.mp4"
    line = open_with(name, null_bundle, portrait_file, voice_file, output)
    assert "is not signed" in refusal(*line, "--require-signed", "--trust", trust_file)
    assert TRUST_VARIABLE not in os.environ
    assert "whom" in refusal(*line, "--require-signed")
    monkeypatch.setenv(TRUST_VARIABLE, str(trust_file))
    assert "is not signed" in refusal(*line)
    assert not output.exists()


def test_a_signed_bundle_runs_as_an_unsigned_one_does(
    run: Callable[..., Any], signed_bundle: Path, trust_file: Path, tmp_path: Path
) -> None:
    plain = run(tmp_path / "plain")
    signed = run(tmp_path / "signed", "--require-signed", "--trust", trust_file)
    assert (plain.code, signed.code) == (0, 0), (plain.err, signed.err)
    frames = [sorted((tmp_path / name).iterdir()) for name in ("plain", "signed")]
    assert [path.read_bytes() for path in frames[0]] == [path.read_bytes() for path in frames[1]]


def test_a_reference_in_the_cache_is_not_believed(
    run: Callable[..., Any], signed_bundle: Path, trust_file: Path, tmp_path: Path
) -> None:
    run(tmp_path / "first")
    assert "reference from the cache" in run(tmp_path / "second").out
    outcome = run(tmp_path / "third", "--trust", trust_file)
    assert "reference computed" in outcome.out


def test_defaults_are_not_written_into_what_is_signed(
    refusal: Callable[..., str], signed_bundle: Path, portrait_file: Path, voice_file: Path
) -> None:
    before = (signed_bundle / "manifest.json").read_bytes()
    message = refusal("tune", signed_bundle, "-p", portrait_file, "-v", voice_file)
    assert "is signed" in message
    assert (signed_bundle / "manifest.json").read_bytes() == before


def test_every_command_that_takes_a_bundle_to_run_has_both_options() -> None:
    from echoexport.export.cli import cli

    context = click.Context(cli)
    having = set()
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        if {"trust", "require_signed"} <= {one.name for one in found.params}:
            having.add(name)
    assert having == set(OPENING)


def test_a_signed_bundle_is_replaced_by_a_build_like_any_other(signed_bundle: Path) -> None:
    from echoexport.export.output_folder import check_bundle_place

    check_bundle_place(signed_bundle)
    assert (signed_bundle / SIGNATURES_NAME).is_file()


@pytest.fixture
def board(make_key: Callable[..., KeyPair], release: KeyPair, trust_file: Path) -> KeyPair:
    """A board's key, which the trust list has for compiled bundles alone."""
    pair = make_key("board")
    keys = (release.trusted(), pair.trusted("board", compiled_only=True))
    write_trust(trust_file, TrustList(keys))
    return pair


@pytest.fixture
def compiled(
    command: Callable[..., Any], signed_bundle: Path, trust_file: Path, board: KeyPair
) -> Path:
    """The signed null bundle, compiled and signed by the board."""
    folder = signed_bundle.with_name("compiled")
    outcome = command(
        "compile", signed_bundle, "-o", folder, "--trust", trust_file, "--sign", board.path
    )
    assert outcome.code == 0, outcome
    return folder


def test_engines_of_a_board_open_by_its_key_and_their_source(
    command: Callable[..., Any], compiled: Path, trust_file: Path
) -> None:
    outcome = command("verify", compiled, "--trust", trust_file)
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("signed by board (")


def test_nothing_of_the_engine_cache_is_used_for_them(
    command: Callable[..., Any], signed_bundle: Path, trust_file: Path, board: KeyPair
) -> None:
    command("compile", signed_bundle, "-o", signed_bundle.with_name("plain"))
    again = command("compile", signed_bundle, "-o", signed_bundle.with_name("plain"))
    assert "from the cache" in again.out
    required = command(
        "compile", signed_bundle, "-o", signed_bundle.with_name("held"), "--trust", trust_file
    )
    assert required.code == 0, required
    assert "from the cache" not in required.out


def test_a_board_signs_no_engine_out_of_the_cache(
    command: Callable[..., Any], signed_bundle: Path, board: KeyPair
) -> None:
    command("compile", signed_bundle, "-o", signed_bundle.with_name("plain"))
    outcome = command(
        "compile", signed_bundle, "-o", signed_bundle.with_name("held"), "--sign", board.path
    )
    assert outcome.code == 0, outcome
    assert "from the cache" not in outcome.out


def test_a_source_that_is_no_plain_file_is_not_waited_for(
    refusal: Callable[..., str], compiled: Path, trust_file: Path
) -> None:
    place = compiled / "source" / "manifest.json"
    place.unlink()
    os.mkfifo(place)
    assert "carries no signature" in refusal("verify", compiled, "--trust", trust_file)


def test_engines_that_the_board_did_not_sign_do_not_open(
    command: Callable[..., Any],
    refusal: Callable[..., str],
    signed_bundle: Path,
    trust_file: Path,
    board: KeyPair,
) -> None:
    folder = signed_bundle.with_name("compiled")
    command("compile", signed_bundle, "-o", folder)
    assert "is not signed" in refusal("verify", folder, "--trust", trust_file)
    sign_bundle(folder, board.private)
    assert command("verify", folder, "--trust", trust_file).code == 0


def test_engines_of_an_unsigned_bundle_do_not_open_though_the_board_signed_them(
    command: Callable[..., Any],
    refusal: Callable[..., str],
    null_bundle: Path,
    trust_file: Path,
    board: KeyPair,
) -> None:
    folder = null_bundle.with_name("compiled")
    command("compile", null_bundle, "-o", folder, "--sign", board.path)
    message = refusal("verify", folder, "--trust", trust_file)
    assert "carries no signature of the bundle it was compiled of" in message


def test_a_revoked_source_takes_its_engines_with_it(
    command: Callable[..., Any],
    refusal: Callable[..., str],
    compiled: Path,
    signed_bundle: Path,
    trust_file: Path,
) -> None:
    command("trust", trust_file, "--revoke-bundle", signed_bundle, "--reason", "third eye")
    assert "revoked" in refusal("verify", compiled, "--trust", trust_file)


def test_engines_do_not_change_their_source(
    refusal: Callable[..., str],
    compiled: Path,
    make_null_bundle: Callable[..., Path],
    release: KeyPair,
    trust_file: Path,
) -> None:
    other = make_null_bundle("other", frames=8)
    sign_bundle(other, release.private)
    for name in ("manifest.json", SIGNATURES_NAME):
        (compiled / "source" / name).write_bytes((other / name).read_bytes())
    message = refusal("verify", compiled, "--trust", trust_file)
    assert "not the manifest that the engines were compiled of" in message


def test_an_engine_that_another_put_there_does_not_open(
    refusal: Callable[..., str], compiled: Path, trust_file: Path
) -> None:
    path = compiled / "manifest.json"
    data = json.loads(path.read_text())
    engine = next(iter(data["compiled"]["engines"].values()))["files"][0]
    content = b"another engine"
    (compiled / engine).unlink()  # it may share its bytes with the cache
    (compiled / engine).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    data["files"][engine] = {"sha256": digest, "bytes": len(content)}
    del data["checksum"]
    path.write_text(json.dumps(data))
    assert "of another bundle" in refusal("verify", compiled, "--trust", trust_file)
