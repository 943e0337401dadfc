"""A report whose every number is known, so that what a renderer writes can be compared to the letter."""

import math

import pytest

from profiler.cost import WORLD_ELECTRICITY
from profiler.forecast.backtest import Backtest
from profiler.records import (
    Domain,
    Forecast,
    Interval,
    Metered,
    Provenance,
    Refusal,
    Status,
    Summary,
    Verdict,
)
from profiler.report.model import Chart, Outlook, Power, Report, Target, build

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
        "span_joules": 10_000.0,
        "modelled_joules": 90_000.0,
        "edge_joules": 2.0,
    }
    return Summary(**(known | changes))


def target(loss, way, verdict, joules, p_never, *, certain=False):
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
    return Target(loss=loss, way=way, forecast=forecast, more=more)


def outlook(**changes):
    inf = math.inf
    known = {
        "first_loss": 4.61,
        "last_loss": 1.85,
        "floor": FLOOR,
        "targets": (
            target(1.785, 0.1, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),
            target(1.688, 0.25, Verdict.REACHABLE, (1.5e6, 3.1e6, inf), 0.06),
            target(1.525, 0.5, Verdict.BEYOND_HORIZON, (9e6, 8e7, inf), 0.31),
            target(1.362, 0.75, Verdict.UNDETERMINED, (1e8, inf, inf), 0.6),
            target(1.135, 1.1, Verdict.UNREACHABLE, (inf, inf, inf), 0.997),
        ),
        "asked": (
            target(2.0, None, Verdict.REACHED, (2e5, 2.1e5, 2.2e5), 0.0),
            target(-1.0, None, Verdict.UNREACHABLE, (inf, inf, inf), 1.0, certain=True),
        ),
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
        "notes": ("3 points were left out: 3 not finite.",),
        "chart": Chart(
            joules=(1e4, 1e5, 4.85e5),
            losses=(3.0, 2.2, 1.85),
            law_joules=(1e4, 4.85e5, 4.85e6),
            law=(
                Interval(low=2.9, median=3.0, high=3.1),
                Interval(low=1.84, median=1.85, high=1.86),
                Interval(low=1.4, median=1.6, high=1.8),
            ),
        ),
    }
    return Outlook(**(known | changes))


@pytest.fixture
def report():
    """Make a report; keyword arguments replace parts of it."""

    def make(*, outlook=outlook(), summary=summary(), **changes):  # noqa: B008 - both are frozen
        def refuse():
            from profiler.errors import ForecastRefusedError

            raise ForecastRefusedError("too_few_points", "There are 3 points.", remedy="Train on.")

        plain = build(summary, refuse, power=[Power(domain="gpu:0", seconds=(0.0, 1.0), watts=(300.0,))])
        known = {name: getattr(plain, name) for name in Report.__slots__}
        refused = "" if outlook else plain.refused
        return Report(**(known | {"outlook": outlook, "refused": refused} | changes))

    return make
