"""Accuracy of the recorded energy: totals, steps and intervals compared with exactly known power.

The hardware is simulated: the real pynvml reads a simulated library on a fake clock, and the readings go through the
real recorder at its real sampling rate. This tests arithmetic and sampling, not NVIDIA's sensors. The waveforms, the
sensor models and the windows are in ``accuracy_scenes.py``; all random numbers have fixed seeds. For comparison, the
same readings are evaluated by two simple methods: the counter read at the edges, and instantaneous power at 10 Hz with
the trapezoid rule. ``--peers PYTHON`` runs Zeus, CodeCarbon and nvitop, if installed in that environment, on the same
library in real time.

``--write`` writes the tables to docs/accuracy.md; ``--quick`` takes less than a minute. A C compiler is required.
"""

import argparse
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from accuracy_peers import measure_peers
from accuracy_play import Played, Stage
from accuracy_scenes import SENSORS, Scene, equal_steps, scenes

from profiler.uncertainty import Z_90
from tests.support.simulated_nvml import build_library

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (0.03, 0.0805, 0.23, 0.5)
GAIN_SPREAD = 0.05
RESOLUTION = 1e-5
"""Readings are whole milliwatts and millijoules; a relative deviation below this is not an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Number of recordings.

    Attributes:
        total_seeds: Recordings per waveform and sensor for the totals, by seconds of the window.
        step_seconds: Length of a recording for the steps.
        step_seeds: Recordings per step length for the steps.
        coverage_seeds: Recordings per waveform and sensor for the intervals, by seconds of the window.
        gain_seeds: The same for windows of 10 s on boards with a random gain.
    """

    total_seeds: dict[float, int]
    step_seconds: float
    step_seeds: int
    coverage_seeds: dict[float, int]
    gain_seeds: int


QUICK = Effort(total_seeds={10.0: 2}, step_seconds=20, step_seeds=1, coverage_seeds={10.0: 4}, gain_seeds=4)
FULL = Effort(
    total_seeds={1.0: 8, 10.0: 8, 60.0: 2}, step_seconds=40, step_seeds=2,
    coverage_seeds={1.0: 50, 10.0: 50, 60.0: 10}, gain_seeds=50,
)  # fmt: skip


def play(stage: Stage, scene: Scene, sensor: str, seconds: float, seed: int, *, gain: float = 1.0) -> Played:
    """Record a scene; the phase of the sensor depends on the seed."""
    draw = random.Random(f"{scene.name} {sensor} {seconds} {seed}")  # noqa: S311 - not for secrets
    gpu = SENSORS[sensor](scene.waveform, phase_seconds=draw.random() * 0.1, gain=gain)
    return stage.play(scene, gpu, seconds=seconds, seed=draw.randrange(2**31))


def percent(error: float, truth: float) -> float:
    """Return the absolute error in percent of the true value."""
    return 100 * abs(error) / truth


def shown_at(played: Played, moment: float) -> float | None:
    """Return the counter of the last reading before a time; None without a counter."""
    before = [joules for seconds, joules, _ in played.readings if seconds <= moment]
    return before[-1] if before else None


def power_at_10_hz(played: Played, start: float, end: float) -> float:
    """Return the joules by the trapezoid rule with one power reading every tenth of a second."""
    readings = [(s, watts) for s, _, watts in played.readings if watts is not None]
    count = max(round((end - start) / 0.1), 1)
    moments = [start + (end - start) * i / count for i in range(count + 1)]
    watts, place = [], 0
    for moment in moments:
        while place + 1 < len(readings) and readings[place + 1][0] <= moment:
            place += 1
        watts.append(readings[place][1])
    return sum((a + b) / 2 for a, b in pairwise(watts)) * (end - start) / count


def totals(stage: Stage, effort: Effort) -> Iterator[str]:
    """Yield rows of errors of totals: mean and maximum over waveforms and phases, for both methods."""
    for seconds, seeds in effort.total_seeds.items():
        for sensor in SENSORS:
            ours: list[float] = []
            naive: list[float] = []
            for seed in range(seeds):
                for scene in scenes(seconds * 1.1 + 3, seed):
                    played = play(stage, scene, sensor, seconds, seed)
                    truth = played.truth(played.start, played.end)
                    ours.append(percent(played.joules - truth, truth))
                    naive.append(percent(power_at_10_hz(played, played.start, played.end) - truth, truth))
            cells = [f"{statistics.mean(e):.2f} / {max(e):.2f}" for e in (ours, naive)]
            yield f"| {seconds:.0f} s | {sensor} | {' | '.join(cells)} |"


def by_waveform(stage: Stage, seeds: int) -> Iterator[str]:
    """Yield rows of mean errors of totals over 10 s, one per waveform."""
    columns = {name: [] for name in SENSORS}
    names = [scene.name for scene in scenes(1, 0)]
    for sensor, cells in columns.items():
        errors: dict[str, list[float]] = {name: [] for name in names}
        for seed in range(seeds):
            for scene in scenes(14, seed):
                played = play(stage, scene, sensor, 10, seed)
                truth = played.truth(played.start, played.end)
                errors[scene.name].append(percent(played.joules - truth, truth))
        cells += [f"{statistics.mean(errors[name]):.2f}" for name in names]
    for index, name in enumerate(names):
        yield f"| {name} | {' | '.join(cells[index] for cells in columns.values())} |"


def step_errors(played: Played) -> tuple[list[float], list[float], list[float]]:
    """Return percent errors of the steps: recorded, counter at the edges, and hits of the 90 % interval."""
    ours, edges, hits = [], [], []
    for row in played.steps[1:]:
        start, end = played.start + row.start_seconds / 1e9, played.start + row.end_seconds / 1e9
        truth, joules = played.truth(start, end), (row.total_joules or 0) / 1e6
        ours.append(percent(joules - truth, truth))
        hits.append(abs(joules - truth) <= Z_90 * (row.uncertainty_joules or 0.0) + RESOLUTION * truth)
        first, last = shown_at(played, start), shown_at(played, end)
        if first is not None and last is not None:
            edges.append(percent(last - first - truth, truth))
    return ours, edges, hits


def steps(stage: Stage, effort: Effort) -> Iterator[str]:
    """Yield rows of mean errors per step."""
    for sensor in SENSORS:
        for jitter in (0.0, 0.03):
            cells = []
            for length in LENGTHS:
                ours, edges, hits = [], [], []
                for seed in range(effort.step_seeds):
                    scene = equal_steps(length, effort.step_seconds * 1.1 + 3, jitter=jitter, seed=seed)
                    found = step_errors(play(stage, scene, sensor, effort.step_seconds, seed))
                    for total, part in zip((ours, edges, hits), found, strict=True):
                        total.extend(part)
                naive = f"{statistics.mean(edges):.0f}" if edges else "-"
                cells.append(f"{statistics.mean(ours):.2f} ({naive}; {100 * statistics.mean(hits):.0f})")
            yield f"| {sensor}, lengths {'equal' if not jitter else 'within 3 %'} | {' | '.join(cells)} |"


def interval_score(low: float, high: float, truth: float) -> float:
    """Return the interval score: width plus 2 / 0.1 of the distance outside (Gneiting and Raftery, JASA 102, 2007)."""
    return high - low + 20 * max(low - truth, truth - high, 0.0)


def covered(
    stage: Stage, sensor: str, index: int, seconds: float, seeds: int, *, gain: bool
) -> tuple[float, float]:
    """Return the fraction of 90 % intervals of totals that contain the true energy, and their mean score in percent."""
    hits, scores = 0, []
    for seed in range(seeds):
        draw = random.Random(f"gain {seed}")  # noqa: S311 - not for secrets
        scene = scenes(seconds * 1.1 + 3, seed)[index]
        played = play(stage, scene, sensor, seconds, seed, gain=draw.gauss(1, GAIN_SPREAD) if gain else 1.0)
        truth = played.truth(played.start, played.end)
        meter = played.recorder.meters["gpu:0"]
        common = meter.describe(0).gain_uncertainty if gain else meter.monitor.alias_uncertainty
        reach = Z_90 * math.hypot(played.recorder.edge_joules, common * played.joules) + RESOLUTION * truth
        hits += abs(played.joules - truth) <= reach
        low, high = max(played.joules - reach, 0.0), played.joules + reach
        scores.append(100 * interval_score(low, high, truth) / truth)
    return hits / seeds, statistics.mean(scores)


def intervals(stage: Stage, seconds: float, seeds: int, *, gain: bool = False) -> Iterator[str]:
    """Yield rows of coverage and score, one per waveform."""
    for index, name in enumerate(scene.name for scene in scenes(1, 0)):
        cells = []
        for sensor in SENSORS:
            share, score = covered(stage, sensor, index, seconds, seeds, gain=gain)
            cells.append(f"{100 * share:.0f} ({score:.2g})")
        yield f"| {name} | {' | '.join(cells)} |"


def interval_tables(stage: Stage, effort: Effort) -> Iterator[str]:
    """Yield one table per window, and one for boards with a random gain."""
    head = [f"| waveform | {' | '.join(SENSORS)} |", "|---" * (len(SENSORS) + 1) + "|"]
    for seconds, seeds in effort.coverage_seeds.items():
        yield from (
            f"### Over {seconds:.0f} s, without the error of the board's gain, {seeds} recordings each",
            "",
            *head,
        )
        yield from (*intervals(stage, seconds, seeds), "")
    yield from (
        f"### Over 10 s, with a random gain of the board, {effort.gain_seeds} recordings each",
        "",
        *head,
    )
    yield from (*intervals(stage, 10.0, effort.gain_seeds, gain=True), "")


ANCHORS = """Other tools under similar conditions, measured earlier (10 s, GPU total, mean over seven waveforms):
Zeus window 0.1 % (0.3 % without a counter), CodeCarbon 0.1 to 0.3 %, perun at 100 ms 0.7 %, jpwr 0.9 %, carbontracker
0.5 % (21 to 26 % on A100- and P100-like sensors), nvitop at 1 s 0.3 %, Eco2AI 13 to 37 %, power at 10 Hz 10 %. Steps of
80 / 230 ms on an H100-like sensor: the counter at the edges 40 / 17 %, linear interpolation between its change points
4.2 / 3.2 %. With a counter that sums part-time readings, the error of every tool is 23 % for the 100 ms waveform.
"""

BRACKETS = """In brackets: the error of the counter read at the step's edges, at the profiler's own sampling rate, and
the percentage of 90 % intervals that contain the true energy."""

TRIED = """## How the energy of a step is determined

A counter that is updated every 100 ms gives the energy between two updates, but not its distribution in time. These
methods were tried; the errors are those of steps of 80 / 230 ms on the H100-like sensor:

1. The counter at the step's edges: the first figures in brackets above.
2. Linear interpolation between the times at which a change was read, polling every 100 ms: 3.6 / 3.4 %.
3. The times of the updates themselves, estimated from many readings under the assumption of a constant update
   interval, and polling at three quarters of that interval. This improves mainly totals, whose edges are then known to
   1 or 2 ms; most of the error of steps is due to the variation of power between updates.
4. That variation, estimated: updates occur at different places in successive steps, so each gain of the counter is a
   linear equation for the power in sixteenths of a step (recursive least squares). The estimate is used only while it
   predicts intermediate counter values better than linear interpolation, so that steps without a common power profile
   are interpolated linearly. It is never used at the window's end, where the following step is unknown.

Instantaneous power readings are not used to distribute the gains, because each is an average over a quarter of the
update interval or less, at an undocumented position. They show instead whether a counter sums such readings, and how
much the power varies between updates.

The P100-like board has no counter, but buffers its last 120 power readings with time stamps. Reading its present power
80 times per second instead gave errors of 7 / 3 / 2 / 0.5 % for the steps, and readings were missed whenever the thread
was late.

## Counters that are frozen, jump or restart

Every case below causes a warning in the report and in `run.json`.

- A GPU counter that is constant for 1.5 s although power is drawn is replaced by the integral of the power readings. A
  counter that was frozen before the start is never read as a measured zero, and the energy from before the start, by
  which it later jumps, is not counted. In recordings of 14 s the total was within 4 % of the true energy.
- A gain of a GPU counter is a jump if it exceeds both 1.25 times the energy by its power readings and 1.25 times the
  present power over one second, by more than 0.15 s at the power limit. A board at 300 W with a limit of 700 W can
  therefore gain up to 480 J too much per jump without being noticed; a larger jump is not counted. Across a gap in the
  readings, gains up to twice the power limit are accepted.
- A RAPL counter that does not change within 0.1 s at the start is not used; the processor is then read through perf
  events or estimated. A gain above twice the rated power of its package, or twice its largest power limit if
  that is higher (2,000 W if the rated power is unknown), plus 100 J is not counted.
- The energy around a reset of a counter is estimated from the power before; the error is at most the energy of one
  update interval.
"""

INTERVALS = """Percentage of 90 % intervals that contain the true energy, and in brackets their interval score in
percent of the true energy: the width of the interval plus twenty times the distance of the true energy from it, so that
wide intervals are penalised too. Within a second, it is not yet known whether a counter sums part-time readings, and
the intervals of such a counter are too narrow; the variation of power between updates is not known either and is
assumed.
"""


def page(stage: Stage, effort: Effort, peers: list[str]) -> str:
    """Return the whole page."""
    sensors = " | ".join(SENSORS)
    rule = "|---" * (len(SENSORS) + 1) + "|"
    return "\n".join(
        [
            "# Accuracy of the recorded energy", "", *((__doc__ or "").split("\n\n")[1:2]), "",
            "## Totals, percent error, mean / maximum over eleven waveforms and random phases", "",
            "| window | sensor | this profiler | power at 10 Hz |", "|---|---|---|---|",
            *totals(stage, effort), "", ANCHORS, *peers,
            "## Totals over 10 s by waveform, mean percent error", "",
            f"| waveform | {sensors} |", rule, *by_waveform(stage, effort.total_seeds[10.0]), "",
            "## Steps, mean percent error per step", "",
            BRACKETS, "",
            "| sensor | 30 ms | 80 ms | 230 ms | 500 ms |", "|---|---|---|---|---|", *steps(stage, effort), "",
            TRIED,
            "## Intervals of totals", "", INTERVALS, *interval_tables(stage, effort),
        ]
    )  # fmt: skip


def main() -> None:
    """Measure, print and optionally write the page."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="a rough measurement in less than a minute")
    options.add_argument("--write", action="store_true", help="write docs/accuracy.md")
    options.add_argument("--peers", metavar="PYTHON", help="Python of an environment with other tools")
    chosen = options.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = build_library(folder / "library")
        peers = measure_peers(chosen.peers, library, folder) if chosen.peers else []
        text = page(Stage(library, folder), QUICK if chosen.quick else FULL, peers)
    took = f"{time.monotonic() - started:.0f} s, of which {time.process_time():.0f} s of one processor"
    text += f"\nWritten by `scripts/benchmark_accuracy.py --write` in {took}.\n"
    print(text)
    if chosen.write:
        (ROOT / "docs" / "accuracy.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
