"""Start-up of ``import echoexport.runtime`` and ``echoexport --help``.

Both run in fresh processes, against a bare interpreter.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from results_file import parse_arguments, show, summarize, write_results

from echoexport.profiles.measuring.latency import compare_side_by_side

WANTED_SECONDS = 0.5
"""That importing the runtime should take at most, on an idle machine."""


def main() -> None:
    """Measure, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parse_arguments(parser, name="import")
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import echoexport.runtime": [sys.executable, "-c", "import echoexport.runtime"],
        "echoexport --help": [str(Path(sys.executable).parent / "echoexport"), "--help"],
    }
    calls = {
        label: lambda command=command: _run(command)
        for label, command in commands.items()
        if _works(command)
    }
    comparison = compare_side_by_side(calls, warmup=2, repeats=arguments.repeats)
    show(comparison)
    missing = [label for label in commands if label not in calls]
    results = {
        "wanted_seconds": {"import echoexport.runtime": WANTED_SECONDS},
        "not_measured": missing,
    }
    write_results(arguments.output, {**results, "processes": summarize(comparison)})


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
