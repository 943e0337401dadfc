"""The terminal report, to the letter, at width 80."""

import math
from dataclasses import replace

import pytest

from profiler.emissions import Prices
from profiler.records import Interval, Metered, Provenance, Status, Verdict
from profiler.reporting import text
from profiler.reporting.forecast_section import PlannedEnd, Scenario
from profiler.reporting.terminal import text_of
from tests.support.scripted_reports import HOSTILE, domain, outlook, summary, target

FULL = """\
== scripted: completed after 20.6 min ==
energy  490 kJ ± 11 % (0.136 kWh, 18 % estimated)
  gpu:0              400 kJ    324 W  counter (NVML total energy)
  cpu:package-0     90.0 kJ   72.9 W  modelled, 2 % bridged (load model)
steps   10,000, 48.0 J and 120 ms per step
loss    4.610 -> 1.850, floor 1.200 [1.000, 1.310]
 target loss   joules more [90 %]          P(never)   verdict
─────────────────────────────────────────────────────────────────────────────
 asked 2.000   none: there by 210 kJ            0 %   reached
       1.785   415 kJ   [215 kJ, 915 kJ]        0 %   reachable
       1.688   2.62 MJ  [1.01 MJ, never]        6 %   reachable
       1.525   -        [8.52 MJ, never]       31 %   over 10x the energy
       1.362   -        [99.5 MJ, never]       60 %   undetermined
       1.135   no finite amount              > 99 %   unreachable
asked -1.000   no finite amount               100 %   unreachable for certain
backtest at 25 / 50 % of the joules: 1.1 / 8.8 % off, 1 of 2 held
Even a year of the world's electricity would not bring it below 1.210 [1.010,
  1.330].
3 points were left out: 3 not finite.
! estimated because energy_uj is readable by root alone. sudo
record  energy_runs/20260102-030405-a1b2c3
"""

BARE = """\
== scripted: failed after 0 s ==
energy  not measured: no sensor on this machine can be read
steps   none seen
no forecast: No optimizer update was seen. Where a loop does not use
  torch.optim, call prof.step(loss=...) in it.
record  energy_runs/20260102-030405-a1b2c3
"""


def test_the_whole_report(report):
    assert text_of(report()) == FULL


def test_a_run_of_nothing(report):
    nothing = summary(
        status=Status.FAILED, window_seconds=0.0, metered=(), steps=0, step_joules=None, span_joules=None,
        modelled_joules=None,
    )  # fmt: skip
    assert text_of(report(outlook=None, summary=nothing)) == BARE


@pytest.mark.parametrize("count", [0, 1, 5])
def test_it_stays_within_25_lines_of_80_columns(report, count):
    many = summary(metered=summary().metered[:1] * 8, warnings=("a long warning " * 20,) * count)
    tests = tuple(replace(outlook().backtest[0], share=s, error=0.6) for s in (0.25, 0.5, 0.7))
    lines = text_of(report(summary=many, outlook=outlook(backtest=tests))).splitlines()
    assert any(line.endswith("82.2 % off, 3 of 3 held") for line in lines)
    asked = 2
    assert len(lines) <= 25 + asked
    assert max(map(len, lines)) <= 80


def test_a_past_that_is_too_short_says_so(report):
    assert "backtest none" in text_of(report(outlook=outlook(backtest=())))


def test_what_is_incomplete_says_so(report):
    assert "incomplete" in text_of(report(summary=summary(missing=("mps",))))


PRICES = Prices(pue=1.5, grid_gco2e_per_kwh=380.0, grid_source="France 2023", price_per_kwh=0.25)


def test_what_joules_amount_to_is_said_where_it_was_asked_for(report):
    lines = text_of(report(prices=PRICES)).splitlines()
    at = lines.index("cost    0.204 kWh at the meter (PUE 1.5), 77.6 gCO2e (380 g/kWh, France 2023),")
    assert lines[at + 1] == "  0.0510 (at 0.25 per kWh)"
    assert "cost" not in text_of(report())


def test_hostile_names_stay_on_their_line(report):
    text = text_of(report(summary=summary(name=HOSTILE)))
    assert text.count("\n") == FULL.count("\n")
    odd = Metered(domain=domain(HOSTILE, Provenance.COUNTER, HOSTILE), joules=1.0)
    text = text_of(report(summary=summary(metered=(odd, *summary().metered[1:]))))
    assert text.count("\n") == FULL.count("\n")


HELD = Scenario(name="held", target=target(1.688, 0.25, Verdict.REACHABLE, (1.5e6, 3.1e6, math.inf), 0.06))
ANNEALED = Scenario(
    name="annealed", target=target(1.688, 0.25, Verdict.BEYOND_HORIZON, (9e5, 1e9, 2e9), 0.001)
)


def test_a_known_learning_rate_adds_its_two_futures(report):
    lines = text_of(report(outlook=outlook(scenarios=(HELD, ANNEALED)))).splitlines()
    start = lines.index("rate held     loss 1.688 for 2.62 MJ more [1.01 MJ, never], P(never) 6 %")
    assert lines[start + 1] == "rate annealed loss 1.688 for [415 kJ, 2.00 GJ] more, P(never) < 1 %"
    assert len(lines) == len(FULL.splitlines()) + 2


def test_the_two_futures_stay_within_25_lines_too(report):
    many = summary(metered=summary().metered[:1] * 8, warnings=("a long warning " * 20,) * 5)
    priced = report(
        summary=many, outlook=outlook(scenarios=(HELD, HELD, ANNEALED), planned_end=END), prices=PRICES
    )
    lines = text_of(priced).splitlines()
    asked = 2
    assert len(lines) <= 25 + asked
    assert max(map(len, lines)) <= 80


END = PlannedEnd(joules=3.4e6, loss=Interval(low=1.7, median=1.75, high=1.8))


def test_where_the_plan_ends_is_said_first(report):
    planned = outlook(planned_end=END)
    lines = text_of(report(outlook=planned)).splitlines()
    assert lines[6] == "planned ends at loss 1.750 [1.700, 1.800] after 3.40 MJ"
    said = text.answer(report(outlook=replace(planned, asked=())))
    begin = "The run as planned ends at loss 1.750 [1.700, 1.800] after 3.40 MJ; reaching loss 1.688 needs 2.62 MJ more"
    assert said.startswith(begin)


NO_MORE = [(Verdict.UNREACHABLE, "no finite amount"), (Verdict.REACHED, "nothing more")]


@pytest.mark.parametrize(("verdict", "said"), NO_MORE)
def test_a_future_without_a_price_says_so(report, verdict, said):
    never = Scenario(name="held", target=target(1.688, 0.25, verdict, (math.inf,) * 3, 0.99))
    assert f"rate held     loss 1.688 for {said}" in text_of(report(outlook=outlook(scenarios=(never,))))
