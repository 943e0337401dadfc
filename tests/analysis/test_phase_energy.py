"""Joules by phase: right where the record can tell phases apart, wide where it cannot, and never more than there is."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import load_run
from profiler.analysis.phase_energy import OTHER, PHASES, energy_by_phase

NAMES = (*PHASES, OTHER)
WATTS = np.array([40.0, 250.0, 400.0, 120.0, 60.0])


def table(seconds, joules, *, sigma=0.0, gaps=0.0):
    """Return rows of steps from the seconds of data, forward, backward, optimizer and the rest."""
    lengths = seconds.sum(axis=1)
    ends = np.cumsum(lengths + gaps)
    columns = {f"{name}_seconds": seconds[:, number] for number, name in enumerate(PHASES)}
    return pd.DataFrame({
        "start_seconds": ends - lengths, "end_seconds": ends, "total_joules": joules,
        "uncertainty_joules": np.broadcast_to(sigma, len(joules)), **columns,
    })  # fmt: skip


def varying(steps, *, scale=1.0, spread=0.3, seed=0):
    """Return seconds of phases that vary independently from step to step."""
    usual = scale * np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    return usual * np.exp(spread * np.random.default_rng(seed).standard_normal((steps, 5)))


def medians(found):
    return np.array([phase.joules.median for phase in found])


def test_known_powers_are_recovered():
    seconds = varying(200)
    found = energy_by_phase(table(seconds, seconds @ WATTS), periods_seconds=[0.1])
    assert tuple(phase.name for phase in found) == NAMES
    assert [phase.seconds for phase in found] == pytest.approx(seconds.sum(axis=0))
    assert medians(found) == pytest.approx(WATTS * seconds.sum(axis=0), rel=0.01)
    assert all(phase.joules.high - phase.joules.low < 0.1 * phase.joules.median for phase in found)


def test_gaps_between_rows_are_ignored():
    seconds = varying(200)
    found = energy_by_phase(table(seconds, seconds @ WATTS, gaps=0.5))
    assert medians(found) == pytest.approx(WATTS * seconds.sum(axis=0), rel=0.01)


def through_a_counter(seconds, watts, period):
    """Return joules per step interpolated between counter updates, and their uncertainty."""
    moments = np.concatenate([[0.0], np.cumsum(seconds.ravel())])
    energies = np.concatenate([[0.0], np.cumsum((seconds * watts).ravel())])
    ticks = np.arange(0.0, moments[-1] + period, period)
    edges = np.concatenate([[0.0], np.cumsum(seconds.sum(axis=1))])
    seen = np.interp(edges, ticks, np.interp(ticks, moments, energies))
    return np.diff(seen), 0.3 * period * np.std(watts)


@pytest.mark.parametrize(("scale", "steps"), [(0.01, 1000), (0.1, 1000), (1.0, 300), (10.0, 40)])
def test_intervals_contain_the_truth_at_any_sensor_resolution(scale, steps):
    """Steps last from a tenth to a hundred update intervals; powers are random."""
    held = []
    for seed in range(40):
        watts = np.random.default_rng(seed).uniform(20, 400, 5)
        seconds = varying(steps, scale=scale, seed=seed)
        joules, sigma = through_a_counter(seconds, watts, 0.1)
        found = energy_by_phase(table(seconds, joules, sigma=sigma), periods_seconds=[0.1])
        truth = watts * seconds.sum(axis=0)
        held += [one.joules.low <= true <= one.joules.high for one, true in zip(found, truth, strict=True)]
    assert np.mean(held) > 0.85


def relative_width(found):
    return np.array([(phase.joules.high - phase.joules.low) / (2 * phase.joules.median) for phase in found])


def test_identical_steps_do_not_separate_phases():
    """Each phase then has the mean power, with an interval from zero to twice as much."""
    seconds = np.tile([0.001, 0.002, 0.004, 0.002, 0.001], (2000, 1))
    found = energy_by_phase(table(seconds, seconds @ WATTS), periods_seconds=[0.1])
    mean = (seconds @ WATTS).sum() / seconds.sum()
    assert medians(found) == pytest.approx(mean * seconds.sum(axis=0), rel=0.01)
    assert (relative_width(found) > 0.5).all()


def test_steps_shorter_than_the_update_interval_give_wider_intervals():
    """The same shares of the same powers, at two speeds."""
    widths = []
    for scale in (0.01, 1.0):
        seconds = varying(500, scale=scale)
        joules, sigma = through_a_counter(seconds, WATTS, 0.1)
        found = energy_by_phase(table(seconds, joules, sigma=sigma), periods_seconds=[0.1])
        widths.append(relative_width(found))
    assert (widths[0] > 3 * widths[1]).all()


def test_drifting_power_widens_the_intervals():
    """A slow drift unrelated to the phases must not be attributed to them."""
    seconds = varying(200)
    drift = 1 + 0.3 * np.sin(np.linspace(0, 12, 200))
    steady = energy_by_phase(table(seconds, seconds @ WATTS))
    wandering = energy_by_phase(table(seconds, seconds @ WATTS * drift))
    assert (relative_width(wandering) > 5 * relative_width(steady)).all()


def test_common_gain_error_is_in_every_interval():
    seconds = varying(200)
    rows = table(seconds, seconds @ WATTS)
    assert relative_width(energy_by_phase(rows, relative_sigma=0.3)) == pytest.approx(0.3 * 1.645, abs=0.02)


def test_unmetered_steps_have_seconds_and_no_joules():
    seconds = varying(3)
    found = energy_by_phase(table(seconds, np.full(3, np.nan)))
    assert [phase.joules for phase in found] == [None] * 5
    assert [phase.seconds for phase in found] == pytest.approx(seconds.sum(axis=0))


def test_untimed_phase_belongs_to_other():
    seconds = varying(50)
    rows = table(seconds, seconds @ WATTS)
    rows["data_seconds"] = np.nan
    rows.loc[::2, "forward_seconds"] = np.nan
    found = energy_by_phase(rows)
    assert [phase.name for phase in found] == ["forward", "backward", "optimizer", "other"]
    assert sum(phase.seconds for phase in found) == pytest.approx(seconds.sum())
    assert medians(found).sum() == pytest.approx(rows["total_joules"].sum())


def test_no_timed_phase():
    rows = table(np.zeros((3, 5)), np.ones(3))
    assert energy_by_phase(rows) == ()
    assert energy_by_phase(rows[:0]) == ()


def test_steps_without_energy():
    """A constant counter is zero joules, unlike a missing counter."""
    found = energy_by_phase(table(varying(5), np.zeros(5)))
    assert medians(found).tolist() == [0.0] * 5


@given(
    lengths=st.lists(
        st.lists(st.integers(0, 10**8).map(lambda us: us / 1e6), min_size=5, max_size=5),
        min_size=1,
        max_size=30,
    ),
    watts=st.lists(st.floats(0, 1e4), min_size=30, max_size=30),
    sigma=st.floats(0, 1e4),
    period=st.none() | st.floats(0.001, 10),
)
@settings(deadline=None)
def test_phases_are_non_negative_and_add_up_to_the_steps(lengths, watts, sigma, period):
    seconds = np.array(lengths)
    joules = seconds.sum(axis=1) * watts[: len(lengths)]
    found = energy_by_phase(table(seconds, joules, sigma=sigma), periods_seconds=[period])
    assert bool(found) == bool(seconds[:, :4].sum() > 0)
    if found:
        assert medians(found).sum() == pytest.approx(joules.sum(), rel=1e-6, abs=1e-6)
        assert all(0 <= one.joules.low <= one.joules.median <= one.joules.high for one in found)
        assert sum(one.seconds for one in found) == pytest.approx(seconds.sum())


def test_recorded_run_has_phases(run_dir):
    run = load_run(run_dir)
    phases = run.energy_by_phase()
    assert [phase.name for phase in phases] == ["backward", "optimizer", "other"]
    assert medians(phases).tolist() == pytest.approx([20_000.0, 4_000.0, 16_000.0])
    gain = math.hypot(0.05 * 30_600, 0.02 * 8_160, 0.02 * 2_040) / 40_800
    assert (relative_width(phases) >= 1.645 * gain).all()
