"""Calibration and int8 build of a full-size checkpoint.

Minutes, peak memory, and what became of quality and size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

SECONDS = 0.5  # of each voice: twelve frames, a window


@dataclass(frozen=True)
class Step:
    """One command of ours in a process of its own.

    peak_bytes: the largest resident set, files mapped counted.
    """

    command: str
    seconds: float
    peak_bytes: int


def main() -> None:
    """Record a set, build in int8, write what both took and what the bundle's own report says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="echo_reference.py DIR --size full writes one with drawn weights",
    )
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--face-model", type=Path)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--size", default="256x256")
    parser.add_argument(
        "--folder", type=Path, help="where set and bundle are kept; without it they are removed"
    )
    arguments = parse_arguments(parser, name="int8_full_size")
    with tempfile.TemporaryDirectory(prefix="echoexport-full-") as temporary:
        folder = arguments.folder or Path(temporary)
        steps = run_steps(arguments, folder)
        write_results(
            arguments.output, {**describe(arguments, steps), **read_bundle(folder / "int8")}
        )


def run_steps(arguments: argparse.Namespace, folder: Path) -> list[Step]:
    """``calibrate``, then ``build --precision int8``, as a user runs them."""
    face = ["--face-model", str(arguments.face_model)] if arguments.face_model else []
    checkpoint = str(arguments.checkpoint)
    size = ["--size", arguments.size]
    inputs = ["--portraits", str(arguments.portraits), "--audio", str(arguments.audio)]
    amount = ["--samples", str(arguments.samples), "--seconds", str(SECONDS)]
    target = ["--target", "cpu-openvino"]
    recorded = str(folder / "set")
    return [
        run_step(
            ["calibrate", checkpoint, *inputs, *target, *size, *amount, *face, "-o", recorded]
        ),
        run_step(
            [
                "build",
                checkpoint,
                *target,
                *size,
                "--precision",
                "int8",
                "--calibration",
                recorded,
                "--check",
                "none",
                "-o",
                str(folder / "int8"),
            ]
        ),
    ]


def run_step(command: list[str]) -> Step:
    """Run one command of the command line; an error of its ends the benchmark."""
    begun = time.perf_counter()
    child = subprocess.Popen([str(Path(sys.executable).with_name("echoexport")), *command])
    _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise SystemExit(f"echoexport {command[0]} ended with {code}")
    return Step(
        f"echoexport {command[0]}", round(time.perf_counter() - begun, 1), usage.ru_maxrss * 1024
    )


def describe(arguments: argparse.Namespace, steps: list[Step]) -> dict[str, Any]:
    """What was run."""
    return {
        "samples": arguments.samples,
        "size": arguments.size,
        "steps": [
            {"command": s.command, "seconds": s.seconds, "peak_gb": round(s.peak_bytes / 1e9, 2)}
            for s in steps
        ],
    }


def read_bundle(folder: Path) -> dict[str, Any]:
    """What the bundle's own quality report says of it."""
    quality = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    kept = ("int8_share", "of_fp32", "weights", "median")
    networks = {
        each["name"]: {
            "snr_db": each["closeness"]["snr"],
            "times_faster": each["speed"],
            **{key: each["candidate"][key] for key in kept},
        }
        for each in quality["networks"]
    }
    return {"headline": quality["headline"], "networks": networks}


if __name__ == "__main__":
    main()
