"""Mutate recorded runs at random and read them in every way: ``python scripts/fuzz.py --seconds 600``.

Every reader must return or raise an error of the package. Exceptions of other types, warnings of control characters on
a terminal, reads that take long, and totals that are finite and wrong are reported with the seed that repeats them.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from tests.support.damaged_runs import mutate, read_all

RECORDED = Path(__file__).parents[1] / "tests" / "data" / "schema_1_0"
NAMES = ("single", "job", "resumed", "killed", "full_disk")
FORECASTS, PAGES = 0.15, 0.03
"""Shares of the cases in which curves are fitted and pages drawn."""
SLOW_SECONDS = 20.0


def main() -> int:
    """Fuzz for the given time; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="repeat one case")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.seed is not None:
        return _report(options.seed, *_case(options.seed))
    found: Counter[str] = Counter()
    deadline, seed, failed = time.monotonic() + options.seconds, options.first, 0
    while time.monotonic() < deadline:
        note, failures = _case(seed)
        for name, error in failures:
            place = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
            where = f"{Path(place.filename).name}:{place.lineno}" if place else ""
            kind = f"{type(error).__name__} in {where}"
            if not found[kind]:
                print(f"seed {seed}, {name}: {kind}: {str(error)[:120]} ({note})", flush=True)
            found[kind] += 1
        failed += bool(failures)
        seed += 1
    print(f"{seed - options.first:,} mutated runs, {failed} with failures of {len(found)} kinds")
    return int(bool(found))


def _case(seed: int) -> tuple[str, list[tuple[str, Exception]]]:
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    name = rng.choice(NAMES)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        shutil.copytree(RECORDED, runs)
        notes = [mutate(runs / name, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
        began, chance = time.process_time(), rng.random()
        _, failures = read_all(runs / name, forecasts=chance < FORECASTS, pages=chance < PAGES)
        seconds = time.process_time() - began
        if seconds > SLOW_SECONDS:
            failures.append(("all", TimeoutError(f"took {seconds:.0f} s")))
    return f"{name}: {'; '.join(notes)}", failures


def _report(seed: int, note: str, failures: list[tuple[str, Exception]]) -> int:
    print(f"seed {seed}: {note}")
    for name, error in failures:
        print(f"\n{name}:")
        traceback.print_exception(error)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
