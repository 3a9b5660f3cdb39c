"""The guide to a kiosk: what it shows is taken by the programs that it is for."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from fixtures.deploy_files import ROOT

GUIDE = (ROOT / "docs" / "kiosk.md").read_text("utf-8")


def find_fence(kind: str, words: str) -> str:
    """The one fence of a kind that holds these words."""
    fences = re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (found,) = [fence for fence in fences if words in fence]
    return str(found)


def test_the_guide_says_what_was_not_tried() -> None:
    assert "**Nothing on this page was run on a Raspberry Pi.**" in GUIDE


def test_the_policies_are_json_and_name_the_pages_address() -> None:
    policies = json.loads(find_fence("json", "AudioCaptureAllowedUrls"))
    unit = find_fence("ini", "ExecStart")
    (origin,) = policies["AudioCaptureAllowedUrls"]
    assert policies["AutoplayAllowlist"] == policies["URLAllowlist"] == [origin]
    assert f" {origin}/\n" in unit


def test_every_flag_of_the_unit_is_explained_and_none_else() -> None:
    flags = set(re.findall(r" (--[a-z][\w-]+)", find_fence("ini", "ExecStart")))
    rows = [row.split("|")[1] for row in GUIDE.splitlines() if row.startswith("| `--")]
    assert flags == set(re.findall(r"`(--[a-z][\w-]+)", " ".join(rows)))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = find_fence("ini", "ExecStart").replace("/usr/bin/cage", str(shutil.which("true")))
    (tmp_path / "kiosk.service").write_text(unit)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "kiosk.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "kiosk" in line]) == (
        0,
        [],
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_certificate_is_trusted_by_who_trusts_the_authority(tmp_path: Path) -> None:
    commands = find_fence("sh", "openssl x509")
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    for name in ("face.lan", "192.168.1.20"):
        assert shake_hands(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "other.lan")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Whether a client that calls the server by this name lets it in."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(8):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.version() is not None


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")
def test_the_scripts_are_shell() -> None:
    fences = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert fences
    for fence in fences:
        done = subprocess.run(["sh", "-n"], input=fence, text=True, check=False, timeout=10)
        assert done.returncode == 0, fence
