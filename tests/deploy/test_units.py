"""Units that systemd takes, run by a user without rights who may use the GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures.deploy_files import (
    UNITS,
    read_unit,
)

# systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.resource-control(5):
# those that these units may use.
KEYS = {
    "Unit": {
        "Description",
        "Documentation",
        "After",
        "Requires",
        "ConditionPathExists",
        "AssertPathExists",
    },
    "Service": {
        "Type",
        "RemainAfterExit",
        "User",
        "Group",
        "SupplementaryGroups",
        "StateDirectory",
        "CacheDirectory",
        "WorkingDirectory",
        "Environment",
        "ExecStart",
        "Restart",
        "RestartSec",
        "TimeoutStartSec",
        "OOMPolicy",
        "OOMScoreAdjust",
        "Nice",
        "UMask",
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateNetwork",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "ProtectProc",
        "RestrictAddressFamilies",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "SystemCallArchitectures",
    },
    "Install": {"WantedBy"},
}
# What would take the GPU's device nodes, its kernels compiled at run time, or the
# device tree away.
WOULD_BREAK_THE_GPU = {
    "PrivateDevices",
    "DevicePolicy",
    "DeviceAllow",
    "ProtectClock",
    "MemoryDenyWriteExecute",
    "ProcSubset",
}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_known_keys_once_and_nothing_that_would_hide_the_gpu(path: Path) -> None:
    keys = [(section, key) for section, key, _ in read_unit(path)]
    assert [(section, key) for section, key in keys if key not in KEYS.get(section, set())] == []
    assert len(set(keys)) == len(keys)
    assert {key for _, key in keys} & WOULD_BREAK_THE_GPU == set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_as_a_user_without_rights_who_may_use_the_gpu(path: Path) -> None:
    values = {key: value for _, key, value in read_unit(path)}
    assert values["User"] == "echoexport"
    assert set(values["SupplementaryGroups"].split()) == {"video", "render"}
    assert (
        values["NoNewPrivileges"],
        values["CapabilityBoundingSet"],
        values["ProtectSystem"],
    ) == (
        "yes",
        "",
        "strict",
    )
    assert values["WorkingDirectory"] == f"/var/lib/{values['StateDirectory']}"
    assert values["Environment"] == f"ECHOEXPORT_CACHE=/var/cache/{values['CacheDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit_without_a_complaint(path: Path, tmp_path: Path) -> None:
    # Each refers to the other; the program is not installed where systemd looks for it.
    for unit in UNITS:
        text = re.sub(
            r"^ExecStart=\S+",
            f"ExecStart={shutil.which('true')}",
            unit.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        (tmp_path / unit.name).write_text(text, "utf-8")
    name = path.name.replace("@.", "@clip.")
    if name != path.name:
        (tmp_path / name).symlink_to(path.name)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [
        line for line in done.stderr.splitlines() if "echoexport" in line or str(tmp_path) in line
    ]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_would_complain_of_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "faulty.service").write_text(
        "[Service]\nType=oneshot\nExecStart=/bin/true\nProtectSistem=yes\n"
    )
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "faulty.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "ProtectSistem" in done.stderr
