"""``make fuzz``: mutations of every kind for so many seconds, or one again."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import run_campaign, write_seeds
from fuzz.kinds import KINDS


def main() -> int:
    """Exit with 1 where a mutation ended badly."""
    given = _read_options()
    kinds = [given.kind] if given.kind else list(KINDS)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            seeds = write_seeds(kind, Path(folder))
            if not any(seeds.iterdir()):
                print(f"{kind}: nothing honest to damage here", flush=True)
                continue
            begun = time.monotonic()
            one = given.index is not None
            numbers = iter([given.index]) if one else iter(itertools.count(given.start))
            if given.count is not None and not one:
                numbers = itertools.islice(numbers, given.count)
            limited = not one and given.count is None
            until = begun + given.seconds / len(kinds) if limited else None
            tally = run_campaign(kind, seeds, seed=given.seed, indices=numbers, until=until)
            print(
                f"{kind}: {tally.read} read, {tally.refused} refused, {len(tally.failures)} "
                f"failed, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            for failure in tally.failures:
                print(f"  {failure}", flush=True)
            failed |= bool(tally.failures)
    return int(failed)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="Mutations of each kind, in place of seconds.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="The first mutation's number.")
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--index", type=int, help="One mutation alone.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
