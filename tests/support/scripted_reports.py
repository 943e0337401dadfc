"""A report whose every number is known, so that what a renderer writes can be compared to the letter."""

import math
from dataclasses import replace

import pytest

from profiler.analysis.breakdown import Part
from profiler.analysis.device_energy import Piece
from profiler.analysis.downsample import Band, DomainPower, Power, Series, Stretch
from profiler.analysis.throttling import Throttling
from profiler.emissions import WORLD_ELECTRICITY
from profiler.forecasting.anneal import AnnealOption
from profiler.forecasting.backtest import Backtest
from profiler.records import (
    CurveState,
    Domain,
    Forecast,
    Interval,
    Metered,
    PhaseEnergy,
    Provenance,
    Refusal,
    Status,
    Summary,
    Verdict,
)
from profiler.reporting.model import build
from profiler.reporting.records import (
    Assumptions,
    Chart,
    CurveDetails,
    Details,
    MetricReport,
    Outlook,
    Overhead,
    PerJoule,
    Process,
    Target,
    TargetTable,
)

FLOOR = Interval(low=1.0, median=1.2, high=1.31)
HOSTILE = "<script>alert(1)</script>\"'&\n=cmd|' /C calc'!A0"


def domain(name, provenance, source, gain=0.05, *, billed=True):
    return Domain(name=name, provenance=provenance, source=source, gain_uncertainty=gain, billed=billed)


def summary(**changes):
    known = {
        "path": "energy_runs/20260102-030405-a1b2c3",
        "name": "scripted",
        "status": Status.COMPLETED,
        "started_at": "2026-01-02T03:04:05.000+00:00",
        "window_seconds": 1234.5,
        "metered": (
            Metered(domain=domain("gpu:0", Provenance.COUNTER, "NVML total energy"), joules=400_000.0),
            Metered(
                domain=domain("cpu:package-0", Provenance.MODELLED, "load model", 0.3),
                joules=90_000.0,
                bridged_seconds=30.0,
            ),
            Metered(
                domain=domain("psys", Provenance.COUNTER, "powercap", 0.02, billed=False), joules=600_000.0
            ),
        ),
        "missing": (),
        "refusals": (
            Refusal(source="powercap", reason="energy_uj is readable by root alone", remedy="sudo"),
        ),
        "warnings": (),
        "steps": 10_000,
        "step_joules": 480_000.0,
        "step_seconds": 1200.0,
        "training_joules": 485_000.0,
        "training_seconds": 1210.0,
        "span_joules": 10_000.0,
        "modelled_joules": 90_000.0,
        "edge_joules": 2.0,
    }
    return Summary(**(known | changes))


def target(loss, change, verdict, joules, p_never, *, certain=False):
    low, median, high = joules
    forecast = Forecast(
        verdict=verdict,
        low=low,
        median=median,
        high=high,
        p_unreachable=p_never,
        certain=certain,
        energy_ratio=median / 485e3,
        reason="scripted",
    )
    shown = verdict not in (Verdict.REACHED, Verdict.UNREACHABLE)
    more = Interval(low=low - 485e3, median=median - 485e3, high=high - 485e3) if shown else None
    return Target(loss=loss, change=change, forecast=forecast, more=more)


def outlook(**changes):
    inf = math.inf
    known = {
        "metric": "loss",
        "goal": "min",
        "state": CurveState.IMPROVING,
        "state_reason": "The level went from 4.61 to 1.85 and is still improving.",
        "first_loss": 4.61,
        "last_loss": 1.85,
        "half": 2.0,
        "best": None,
        "diverged_step": None,
        "joules": 485e3,
        "floor": FLOOR,
        "targets": (
            target(1.832, 0.01, Verdict.REACHABLE, (0.5e6, 0.52e6, 0.6e6), 0.0),
            target(1.758, 0.05, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),
            target(1.665, 0.10, Verdict.REACHABLE, (1.5e6, 3.1e6, inf), 0.06),
            target(1.388, 0.25, Verdict.UNDETERMINED, (1e8, inf, inf), 0.6),
        ),
        "asked": (
            target(2.0, None, Verdict.REACHED, (2e5, 2.1e5, 2.2e5), 0.0),
            target(-1.0, None, Verdict.UNREACHABLE, (inf, inf, inf), 1.0, certain=True),
        ),
        "ahead": Interval(low=1.65, median=1.72, high=1.78),
        "perfection": Interval(low=1.01, median=1.21, high=1.33),
        "yardstick": WORLD_ELECTRICITY,
        "backtest": (
            Backtest(
                share=0.25, forecast=Interval(low=1.7, median=1.87, high=2.0), measured=1.85, error=-0.0107
            ),
            Backtest(
                share=0.5, forecast=Interval(low=1.6, median=1.7, high=1.8), measured=1.85, error=0.0846
            ),
        ),
        "notes": ("3 points were excluded: 3 not finite.",),
        "points": 500,
    }
    return Outlook(**(known | changes))


INF = math.inf
TABLE = TargetTable(
    joules_now=485e3,
    losses=(4.0, 1.85, 1.7, 1.2, 1.0),
    low=(1e3, 4.8e5, 1.2e6, 2e7, INF),
    median=(2e3, 4.85e5, 2.4e6, INF, INF),
    high=(3e3, 4.85e5, 9e6, INF, INF),
    p_unreachable=(0.0, 0.0, 0.02, 0.6, 0.97),
    p_within=(1.0, 1.0, 0.93, 0.18, 0.01),
    verdicts=(
        Verdict.REACHED,
        Verdict.REACHED,
        Verdict.REACHABLE,
        Verdict.UNDETERMINED,
        Verdict.UNREACHABLE,
    ),
    per_joule=PerJoule(seconds=1 / 400, kwh=1 / 3.6e6, gco2e=None, money=None),
)
CURVE = CurveDetails(
    name="loss",
    chart=Chart(
        seen=Series(x=(1e4, 1.1e4, 4.8e5), y=(3.1, 2.9, 1.86)),
        joules=(1e4, 1e5, 4.85e5),
        losses=(3.0, 2.2, 1.85),
        law_joules=(1e4, 4.85e5, 4.85e6),
        law=(
            Interval(low=2.9, median=3.0, high=3.1),
            Interval(low=1.84, median=1.85, high=1.86),
            Interval(low=1.4, median=1.6, high=1.8),
        ),
    ),
    target_table=TABLE,
    assumptions=Assumptions(
        priors=("Zero is a possible floor.",),
        families=(("power law", 0.97), ("exponential", 0.03)),
        exponent=Interval(low=0.3, median=0.4, high=0.5),
    ),
)
ANNEALS = (
    AnnealOption(
        name="now",
        start_joules=485e3,
        end_joules=582e3,
        more_joules=97e3,
        loss=Interval(low=1.7, median=1.74, high=1.8),
    ),
    AnnealOption(
        name="held",
        start_joules=None,
        end_joules=970e3,
        more_joules=485e3,
        loss=Interval(low=1.68, median=1.72, high=1.77),
    ),
)
DETAILS = Details(
    anneals=ANNEALS,
    curves=(CURVE,),
    power=Power(
        seconds=(0.0, 617.0, 1234.5),
        domains=(DomainPower(domain="gpu:0", watts=(300.0, 348.0)),),
        low=(250.0, 300.0),
        high=(310.0, 390.0),
    ),
    stretches=(Stretch(kind="setup", start_seconds=0.0, end_seconds=20.0),),
    step_joules_over_time=Band(x=(300.0, 900.0), mean=(48.0, 48.5), low=(47.0, 47.2), high=(60.0, 49.0)),
    where=(
        Part(name="training steps", in_steps=True, seconds=1200.0, joules=480e3, share=48 / 49),
        Part(name="setup", in_steps=False, seconds=34.5, joules=10e3, share=1 / 49),
    ),
    devices=(
        Piece(device="gpu:0", activity="training steps", joules=392e3),
        Piece(device="gpu:0", activity="setup", joules=8e3),
        Piece(device="cpu:package-0", activity="training steps", joules=90e3),
    ),
    phases=(
        PhaseEnergy(name="forward", seconds=400.0, joules=Interval(low=1e5, median=1.6e5, high=2.2e5)),
        PhaseEnergy(name="other", seconds=800.0, joules=Interval(low=2.6e5, median=3.2e5, high=3.8e5)),
    ),
    processes=(
        Process(
            rank=0, attempt=1, host="3f2a91", status="completed", steps=10_000, joules=2.6e5,
        ),
        Process(
            rank=1, attempt=0, host="3f2a91", status="failed", steps=9_000, joules=2.3e5,
        ),
    ),
    learning_rate=Series(x=(0.0, 1234.5), y=(0.001, 0.0001)),
    throttling=(
        Throttling(
            domain="gpu:0", cause="power", share=Interval(low=0.002, median=0.002, high=0.002), is_counted=True
        ),
    ),
    overhead=Overhead(
        sampler_cpu_seconds=2.0, share_of_a_core=2 / 1234.5, seconds_a_step=2e-4, samples=12_000,
        longest_read_seconds=0.004, start_seconds=0.02, stop_seconds=0.001, bytes_written=1_500_000,
    ),
)  # fmt: skip


def make(*, outlook=outlook(), details=DETAILS, prices=None, summary=summary(), others=(), **changes):  # noqa: B008 - all are frozen
    """Make a report; keyword arguments replace parts of it."""
    refused = "" if outlook else "A forecast needs 6 points and the curve has 3. Train longer."
    state = outlook.state if outlook else CurveState.TOO_EARLY
    known = MetricReport(name="loss", goal="min", outlook=outlook, state=state, refused=refused, last=1.84)
    if outlook is None:
        details = replace(details, curves=tuple(without_trend(curve) for curve in details.curves))
    plain = build(summary, [known, *others], prices=prices, examine=lambda: details)
    return replace(plain, **changes)


def without_trend(curve):
    """Return the details of a curve that supports no forecast."""
    bare = replace(curve.chart, joules=(), losses=(), law_joules=(), law=())
    return replace(curve, chart=bare, target_table=None, assumptions=None)


@pytest.fixture
def report():
    """Make a report; keyword arguments replace parts of it."""
    return make
