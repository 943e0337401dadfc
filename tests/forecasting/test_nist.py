"""Certified values of the NIST reference data sets for nonlinear regression whose model is one of the families.

Source: National Institute of Standards and Technology, Statistical Reference Datasets, Nonlinear Regression,
https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml. Of its 27 data sets two are curves of a family here. Misra1a,
``y = b1 (1 - exp(-b2 x))``, is an exponential approach to its best value b1. DanWood, ``y = b1 x^b2``, is a power law
without a floor in 1 / x. (BoxBOD has the model of Misra1a, but values beyond its certified best one.) The certified
values minimise squares of the metric and ours of its logarithm, so they agree within the certified standard errors.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from profiler.forecasting import Priors, fit_curve
from profiler.forecasting.models import MODELS, log_level

MISRA_VOLUME = [
    10.07,
    14.73,
    17.94,
    23.93,
    29.61,
    35.18,
    40.02,
    44.82,
    50.76,
    55.05,
    61.01,
    66.40,
    75.47,
    81.78,
]
MISRA_PRESSURE = [
    77.6,
    114.9,
    141.1,
    190.8,
    239.9,
    289.0,
    332.8,
    378.4,
    434.8,
    477.3,
    536.8,
    593.1,
    689.1,
    760.0,
]
MISRA_B1, MISRA_B2, MISRA_RSS = 2.3894212918e02, 5.5015643181e-04, 1.2455138894e-01
MISRA_RESIDUAL = 1.0187876330e-01

WOOD_ENERGY = [2.138, 3.421, 3.597, 4.340, 4.882, 5.660]
WOOD_TEMPERATURE = [1.309, 1.471, 1.490, 1.565, 1.611, 1.680]
WOOD_B1, WOOD_B2, WOOD_RSS = 7.6886226176e-01, 3.8604055871, 4.3173084083e-03
WOOD_B2_ERROR = 5.1726610913e-02

POWER_LAW, _, EXPONENTIAL = MODELS

FLAT = Priors(
    slope=1.0,
    slope_spread=2.0,
    bent_slope_spread=2.0,
    late_start=0.0,
    recency=0.0,
    rate_unknown=replace(Priors().rate_unknown, lean=0.0),
)
"""No weights, no late start, no lean and wide priors on the exponent, as in least squares."""


def test_exponential_gives_the_certified_residuals_of_misra1a():
    x, last = np.array(MISRA_PRESSURE), MISRA_PRESSURE[-1]
    error = MISRA_B1 * math.exp(-MISRA_B2 * last)
    shape = log_level(EXPONENTIAL.log_decay(np.log(x / last), np.array(MISRA_B2 * last)), np.array(1.0))
    residual = np.array(MISRA_VOLUME) - (MISRA_B1 - error * np.exp(shape))
    assert residual @ residual == pytest.approx(MISRA_RSS, rel=1e-10)


def test_power_law_gives_the_certified_residuals_of_danwood():
    x, last = 1.0 / np.array(WOOD_TEMPERATURE), 1.0 / WOOD_TEMPERATURE[0]
    shape = log_level(POWER_LAW.log_decay(np.log(x / last), np.array(WOOD_B2)), np.array(1.0))
    residual = np.array(WOOD_ENERGY) - WOOD_B1 * last**-WOOD_B2 * np.exp(shape)
    assert residual @ residual == pytest.approx(WOOD_RSS, rel=1e-9)


def test_misra1a_is_exponential_with_the_certified_rate():
    priors = replace(FLAT, bent=0.5, bare_floor=1.0 - 1e-9)
    fit = fit_curve(MISRA_PRESSURE, MISRA_VOLUME, goal="max", best=MISRA_B1, priors=priors)
    certified = MISRA_B2 * MISRA_PRESSURE[-1]
    assert fit.families["exponential"] > 0.99
    assert fit.exponent.low < certified < fit.exponent.high
    assert fit.exponent.median == pytest.approx(certified, rel=2e-3)
    for pressure in (1000.0, 2000.0):
        expected = MISRA_B1 * (1.0 - math.exp(-MISRA_B2 * pressure))
        assert fit.loss_at(pressure).median == pytest.approx(expected, abs=2.0 * MISRA_RESIDUAL)
    expected = -math.log(1.0 - 200.0 / MISRA_B1) / MISRA_B2
    assert fit.joules_at(200.0).median == pytest.approx(expected, rel=2e-3)


def test_misra1a_is_exponential_with_default_priors():
    fit = fit_curve(MISRA_PRESSURE, MISRA_VOLUME, goal="max", best=MISRA_B1)
    assert fit.families["exponential"] > 0.99


def test_danwood_gets_the_certified_exponent():
    priors = replace(FLAT, bent=0.0, bare_floor=1.0 - 1e-9)
    fit = fit_curve(1.0 / np.array(WOOD_TEMPERATURE), WOOD_ENERGY, priors=priors)
    assert fit.exponent.low < WOOD_B2 < fit.exponent.high
    assert fit.exponent.median == pytest.approx(WOOD_B2, abs=WOOD_B2_ERROR)
    in_logs = -np.polyfit(np.log(1.0 / np.array(WOOD_TEMPERATURE)), np.log(WOOD_ENERGY), 1)[0]
    assert fit.exponent.median == pytest.approx(in_logs, rel=5e-3)


@pytest.mark.parametrize("spread", [0.1, 3.0, 10.0])
def test_priors_may_be_wide_or_narrow(spread):
    priors = replace(FLAT, slope_spread=spread, bent_slope_spread=spread)
    fit = fit_curve(MISRA_PRESSURE, MISRA_VOLUME, goal="max", best=MISRA_B1, priors=priors)
    there = fit.loss_at(1000.0)
    assert MISRA_VOLUME[-1] * 0.9 < there.low <= there.median <= there.high < MISRA_B1
