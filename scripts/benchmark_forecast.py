"""Accuracy of the forecasts on public and synthetic curves, next to published methods. Minutes on two cores.

    python scripts/benchmark_forecast.py --data FOLDER [--also FOLDER] [--write docs/forecast-accuracy.md]

FOLDER holds ``rnsl_vision.csv.gz`` and ``rnsl_language.csv.gz`` (Alabdulmohsin et al., Revisiting Neural Scaling
Laws, 2022: Domain, Task, Model, Seen Examples, Loss, Training), ``training_curves.csv.gz`` (set, run, schedule,
x_kind, x, loss, lr) and ``mlperf_v4.0_joules.csv.gz`` (benchmark, run, energy_J, value). Missing files are skipped.
``--also`` reports the training curves of another folder apart: those that took no part in the development.
"""

import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import result_page
from forecast_anchors import RNSL_ANCHORS
from forecast_scores import MISS_PENALTY, PREFIXES, Evaluation, Run, evaluate_all
from forecast_states import confusion, fine_tuning, phase_change
from forecast_tables import (
    advice_table,
    anchors_table,
    chances_table,
    confidence_table,
    coverage_table,
    group_table,
    header,
    means_table,
    outcomes_table,
    stability_table,
    states_table,
    usefulness_table,
)

from profiler.forecasting import fit_curve
from profiler.forecasting.anneal_gain import AnnealGain, with_gains
from profiler.forecasting.priors import Priors
from profiler.records import Verdict

PHASE_PREFIXES = (0.1, 0.25)
PHASE_SEED, STATE_SEED, TUNING_SEED = 10_000, 2, 50_000
"""Seeds of the reported synthetic curves; tuning used others."""
RISING = ("bert", "dlrm_dcnv2", "resnet", "ssd", "unet3d")
"""Metered jobs whose metric is an accuracy; the others log a loss under that name."""


def curves(folder: Path, *, known: bool) -> tuple[list[Run], dict[str, str]]:
    """Read the tidy curves, with their learning rate if asked for, and the schedule of each set."""
    name = "training_curves_with_rates.csv.gz" if known else "training_curves.csv.gz"
    table = pd.read_csv(folder / (name if (folder / name).exists() else "training_curves.csv.gz"))
    runs = []
    for (group, _), rows in table.groupby(["set", "run"], sort=True):
        ordered = rows.sort_values("x", kind="stable")
        rate = ordered.lr.to_numpy() if known and ordered.lr.notna().all() else None
        if rate is not None or not known:
            runs.append(Run(group=group, x=ordered.x.to_numpy(), y=ordered.loss.to_numpy(), rate=rate))
    return runs, dict(table.groupby("set").schedule.first())


def report_curves(folder: Path) -> Iterator[str]:
    """Yield section 2: training curves by set and prefix."""
    runs, schedules = curves(folder, known=False)
    found = evaluate_all(runs)
    scores = found.scores
    constant = scores.group.map(schedules) == "const"
    yield "## Training curves, learning rate withheld\n"
    yield from means_table(scores)
    yield "\nConstant rate only:\n"
    yield from means_table(scores[constant])
    yield "\nFalling rate, withheld from the fit:\n"
    yield from means_table(scores[~constant])
    yield "\nStates of these prefixes:\n"
    yield from states_table(scores)
    yield from _details(found)
    yield "\n## Training curves, learning rate known\n"
    known = evaluate_all(curves(folder, known=True)[0])
    yield from means_table(known.scores)
    yield from _details(known)


def report_others(folder: Path) -> Iterator[str]:
    """Yield the section on curves that took no part in the development."""
    yield "\n## Curves that took no part in the development\n"
    for known in (False, True):
        runs, _ = curves(folder, known=known)
        found = evaluate_all(runs)
        yield f"\n{len(runs)} runs, learning rate {'known' if known else 'withheld'}:\n"
        yield from means_table(found.scores)
        if not known:
            yield "\nStates of the prefixes of 10 to 75 %, and the lowest level after them:\n"
            yield from outcomes_table(found.scores)
        yield from _details(found)


def _details(found: Evaluation) -> Iterator[str]:
    """Yield the tables that both sections on training curves have."""
    yield "\nCoverage of the 90 % interval of the level at the end:\n"
    yield from coverage_table(found.scores)
    yield "\nUsefulness: forecasts of the end level, which every run reached. The simple fit is `a + b x^-c` by least"
    yield "squares on the last four fifths of the points.\n"
    yield from usefulness_table(found.scores)
    yield "\nBeside intervals of the simple fit and of the last value, calibrated to the same coverage on other sets:\n"
    yield from anchors_table(found.scores)
    yield "\nConfidence of the report, by the distance of the forecast level from the measured one:\n"
    yield from confidence_table(found.answers)
    yield "\nAdvice of the report, from 10, 25, 50 and 75 % of the run:\n"
    yield from advice_table(found.answers)
    yield "\nStability over the life of a run, of the energy at the end level and of the level at the end. An interval"
    yield "without an end excludes no later median:\n"
    yield from stability_table(found.scores)
    yield "\nProbability of reaching a target within a multiple of the present energy (forecast -> happened, its 90 %"
    yield "interval by a bootstrap over sets, cases and sets). Targets are 12 reductions of the present level by 0.5 to"
    yield "25 %:\n"
    yield from chances_table(found.chances)
    yield "\nThe same for targets at the levels that the run has at 0.6, 0.8, 1.25 and 1.6 times the multiple. They"
    yield "depend on the outcome, so that calibrated probabilities differ from these frequencies as well:\n"
    yield from chances_table(found.on_path)
    yield "\nBy set:\n"
    yield from group_table(found.scores)


def rnsl_error(rows: pd.DataFrame) -> float:
    """Return the RMSLE of one task, fitted on its own training part."""
    train, test = rows[rows.Training == 1], rows[rows.Training == 0]
    x, y = train["Seen Examples"].to_numpy(), train.Loss.to_numpy()
    fit = fit_curve(x, y)
    predicted = np.array([fit.loss_at(at).median for at in test["Seen Examples"]])
    predicted = np.where(predicted > 0.0, predicted, y[np.argmax(x)])
    return float(np.sqrt(np.mean(np.log(predicted / test.Loss.to_numpy()) ** 2)))


def report_rnsl(folder: Path) -> Iterator[str]:
    """Yield section 1: downstream scaling curves, their own split."""
    tasks: list[tuple[str, pd.DataFrame]] = []
    for name in ("rnsl_vision", "rnsl_language"):
        table = pd.read_csv(folder / f"{name}.csv.gz")
        for (domain, _, _), rows in table.groupby(["Domain", "Task", "Model"], sort=True):
            tasks.append(("IC" if name == "rnsl_vision" else domain, rows))
    with ProcessPoolExecutor(2) as pool:
        errors = list(pool.map(rnsl_error, [rows for _, rows in tasks], chunksize=4))
    means = pd.Series(errors).groupby([domain for domain, _ in tasks]).mean()
    ours = (*(means[domain] for domain in ("IC", "NMT", "LM", "BB")), float(np.mean(errors)))
    yield "## Scaling curves of downstream tasks (RNSL), RMSLE\n"
    yield "| method | image | translation | language | BIG-bench | all 92 |"
    yield "|---|---|---|---|---|---|"
    for method, values in {**RNSL_ANCHORS, "**this package**": ours}.items():
        yield f"| {method} | " + " | ".join(f"{value:.4f}" for value in values) + " |"


def report_metered(folder: Path) -> Iterator[str]:
    """Yield section 3: the curves with metered joules."""
    table = pd.read_csv(folder / "mlperf_v4.0_joules.csv.gz")
    runs = []
    for (benchmark, _), rows in table.groupby(["benchmark", "run"], sort=True):
        ordered = rows.sort_values("energy_J", kind="stable")
        value = ordered.value.to_numpy()
        error = 1.0 - value if benchmark in RISING else value
        runs.append(Run(group=benchmark, x=ordered.energy_J.to_numpy(), y=error))
    scores = evaluate_all(runs).scores
    yield "## Metered joules (MLPerf Training v4.0 power submissions)\n"
    yield from means_table(scores)
    yield ""
    yield from group_table(scores)


def synthetic(case: int) -> tuple[list[bool], list[bool]]:
    """Return whether targets above and well under a known floor are called unreachable, for one noisy curve."""
    rng = np.random.default_rng(case)
    share, slope = rng.uniform(0.05, 0.45), rng.uniform(0.15, 1.0)
    x = np.geomspace(1.0, 10.0 ** rng.uniform(1.5, 3.5), int(rng.integers(20, 400)))
    noise = float(np.exp(rng.uniform(math.log(0.001), math.log(0.05))))
    y = (1.0 - share + share * (x / x[-1]) ** -slope) * np.exp(noise * rng.standard_normal(x.size))
    fit = fit_curve(x, y)
    above = [fit.joules_at(1.0 - share + share * ratio**-slope) for ratio in (2.0, 10.0, 100.0, 1e4)]
    under = fit.joules_at(1.0 - 2.0 * share)
    alarms = [forecast.verdict is Verdict.UNREACHABLE for forecast in above]
    return alarms, [under.verdict is Verdict.UNREACHABLE, under.p_unreachable > 0.5]


def report_synthetic() -> Iterator[str]:
    """Yield section 4: verdicts on curves of known floor."""
    with ProcessPoolExecutor(2) as pool:
        alarms, found = (
            np.array(part) for part in zip(*pool.map(synthetic, range(320), chunksize=8), strict=True)
        )
    yield "## Verdicts on 320 synthetic curves of known floor\n"
    yield "| target | called unreachable |"
    yield "|---|---|"
    for name, share in zip(("2x", "10x", "100x", "10^4x"), alarms.mean(axis=0), strict=True):
        yield f"| reachable at {name} the joules (false alarms; at most 1 %) | {share:.1%} |"
    yield f"| one present excess under the floor (power; at least 60 %) | {found[:, 0].mean():.0%} |"
    yield f"| the same, P(unreachable) > .5 | {found[:, 1].mean():.0%} |"


def phase_case(seed: int) -> list[tuple[bool, bool, float]]:
    """Return coverage, misses upwards and the log width of the interval for the end, from 10 and 25 % of a curve."""
    x, y, end = phase_change(np.random.default_rng(seed))
    rows = []
    for prefix in PHASE_PREFIXES:
        seen = x <= prefix * x[-1]
        interval = fit_curve(x[seen], y[seen]).loss_at(x[-1])
        rows.append(
            (
                interval.low <= end <= interval.high,
                end > interval.high,
                math.log(interval.high / interval.low),
            )
        )
    return rows


def report_phases() -> Iterator[str]:
    """Yield section 5: curves whose early part is steeper than the rest."""
    with ProcessPoolExecutor(2) as pool:
        found = np.array(list(pool.map(phase_case, range(PHASE_SEED, PHASE_SEED + 200), chunksize=10)))
    yield "## Phase changes: 200 broken power laws\n"
    yield "Exponent U(.2, .8), then 0.3 to 1 times as much after a break at 2 to 60 % of the energy; noise .5 to 3 %.\n"
    yield from header("fitted on", "90 % interval covers the end %", "end above it %", "median high / low")
    for k, prefix in enumerate(PHASE_PREFIXES):
        covered, above, width = found[:, k].T
        yield f"| {prefix} | {100 * covered.mean():.0f} | {100 * above.mean():.0f} | {math.exp(np.median(width)):.2f} |"


def tuning_case(case: tuple[int, float]) -> list[tuple[float, float, str, float, bool, float]]:
    """Return gain, prefix, knowledge, error, coverage and interval score of forecasts of a fine-tuning."""
    seed, gain = case
    x, y, rate, end = fine_tuning(np.random.default_rng(seed), gain)
    measured = with_gains(Priors(), [AnnealGain(gain=gain, error=0.005)] * 2)
    known: dict[str, dict[str, object]] = {
        "withheld": {},
        "known": {"planned_learning_rate": (x, rate)},
        "known, with the gain of two earlier runs": {"planned_learning_rate": (x, rate), "priors": measured},
    }
    rows = []
    for prefix, (name, options) in itertools.product(PREFIXES, known.items()):
        seen = x <= prefix * x[-1]
        interval = fit_curve(x[seen], y[seen], **options).loss_at(x[-1])
        low, median, high = (math.log(v / end) for v in (interval.low, interval.median, interval.high))
        score = high - low + MISS_PENALTY * (max(low, 0.0) + max(-high, 0.0))
        rows.append((gain, prefix, name, abs(median), low <= 0.0 <= high, score))
    return rows


def report_tunings() -> Iterator[str]:
    """Yield section 6: fine-tunings, with and without their plan."""
    cases = [(TUNING_SEED + k, gain) for gain in (0.0, 0.05) for k in range(40)]
    with ProcessPoolExecutor(2) as pool:
        rows = [row for part in pool.map(tuning_case, cases, chunksize=4) for row in part]
    table = pd.DataFrame(rows, columns=["gain", "prefix", "rate", "error", "covered", "score"])
    yield "## Fine-tuning: 40 curves that drop and then are flat and noisy\n"
    yield "A drop within 1 to 10 % of the run; noise .3 to 20 %; linear, cosine or late linear decay to zero, which"
    yield "gains nothing or about 5 %. A forecast without the rate is right by accident where it gains nothing.\n"
    yield from header("anneal gains", "fitted on", "learning rate", "median error %", "mean error %", "covered %",
                      "interval score %")  # fmt: skip
    for (gain, prefix, rate), part in table.groupby(["gain", "prefix", "rate"], sort=False):
        yield (
            f"| {'about 5 %' if gain else 'nothing'} | {prefix} | {rate} | {100 * part.error.median():.2f} | "
            f"{100 * part.error.mean():.2f} | {100 * part.covered.mean():.0f} | {100 * part.score.mean():.2f} |"
        )


def report_states() -> Iterator[str]:
    """Yield section 7: states of synthetic curves."""
    yield "## States of 2,000 synthetic curves\n"
    yield from confusion(2000, STATE_SEED)


def report_speed() -> Iterator[str]:
    """Yield section 8: milliseconds per fit."""
    yield "## Speed (processor time)\n"
    yield "| points | ms per fit | ms per fit, its backtest and a forecast |"
    yield "|---|---|---|"
    for points in (100, 10_000, 1_000_000):
        x = np.arange(1.0, points + 1.0)
        y = (1.2 + 3.0 * x**-0.3) * np.exp(0.05 * np.random.default_rng(0).standard_normal(points))
        fit, whole = (
            1e3 * min(_seconds(lambda: call(x, y)) for _ in range(5))  # noqa: B023 - called here and now
            for call in (fit_curve, _forecast)
        )
        yield f"| {points:,} | {fit:.0f} | {whole:.0f} |"


def _forecast(x: np.ndarray, y: np.ndarray) -> object:
    fit = fit_curve(x, y)
    return fit.joules_at(0.97 * fit.level)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def sections(folder: Path) -> Iterator[str]:
    """Yield the report, line by line."""
    yield (__doc__ or "").splitlines()[0]
    for report, needed in (
        (report_rnsl, "rnsl_vision.csv.gz"),
        (report_curves, "training_curves.csv.gz"),
        (report_metered, "mlperf_v4.0_joules.csv.gz"),
    ):
        yield ""
        if (folder / needed).exists():
            yield from report(folder)
        else:
            yield f"Skipped: {needed} is not in the folder."
    for report in (report_synthetic, report_phases, report_tunings, report_states, report_speed):
        yield ""
        yield from report()


if __name__ == "__main__":
    sys.exit(result_page.main(__file__, (__doc__ or "").splitlines()[0], sections, report_others))
