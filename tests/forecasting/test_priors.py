"""What is assumed, in words: a whole-output golden, so that a changed prior is a changed sentence."""

from dataclasses import replace

from profiler.forecasting.priors import Priors, sentences


def test_all_that_is_assumed_is_said():
    assert sentences(Priors()) == (
        "The excess over the floor falls as joules^-b, with b between 0.1 and 2 (90 %) at the last point.",
        "Energy can remove 2 % to 92 % of the present level (90 %).",
        "It can remove all of it with 2 % probability.",
        "The law is a power law with 96 % probability, else a stretched exponential.",
        "It holds only from some point on with 5 % probability.",
        "Bins at the last point are noisy by about 0.3 %.",
        "A point weighs as its joules over the present ones to the power 2.",
        "Lowering a known learning rate to zero removes between 0.022 and 0.11 (90 %) of the loss.",
        "Learning rate unknown: levels leave the law by 55 % downwards and 10 % upwards of the next doubling's gain.",
        "Learning rate known: levels leave the law by 15 % downwards and 15 % upwards of the next doubling's gain.",
    )


def test_what_is_overridden_is_said():
    assert "with b between 1 and 1 (90 %)" in sentences(replace(Priors(), slope=1.0, slope_spread=0.0))[0]
