"""Assumptions as sentences: a golden of the whole output, so that a changed prior changes a sentence."""

from dataclasses import replace

from profiler.forecasting.priors import IMAGES, Priors, sentences


def test_sentences_describe_every_assumption():
    departure = (
        "the level may lie below the curve by {} % of the gain expected from doubling the energy, "
        "or above it by {} %"
    )
    assert sentences(Priors()) == (
        "The excess over the floor falls as joules^-b, with b between 0.1 and 2 (90 %) at the last point.",
        "More energy can remove 2 % to 92 % of the present level (90 %).",
        "It can remove all of it with 2 % probability.",
        "The curve is a power law with 96 % probability, else a stretched exponential.",
        "It starts only at a later point of the run with 5 % probability.",
        "The averaged levels near the last point have a noise of about 0.3 %.",
        "Each point is weighted by (its energy / energy now) to the power 2.",
        (
            "Annealing a known learning rate to zero removes 3 % to 9 % of the loss (90 %), or 12 % to 94 % where a "
            "doubling of the energy removes much more than 14 %."
        ),
        "It removes nothing from a curve that stands still with 70 % probability.",
        f"With an unknown learning rate, {departure.format(55, 10)}.",
        f"With a known learning rate, {departure.format(15, 15)}.",
        "The lower ends of intervals also allow 4 % of that gain times the square of the doublings.",
        "The ends of intervals allow a steep curve to lose 74 % of its slope, or to gain as much.",
        "The median lies below the curve by up to 0.18 % per doubling, 0.3 % if the rate is known.",
    )


def test_sentences_describe_overridden_priors():
    assert "with b between 1 and 1 (90 %)" in sentences(replace(Priors(), slope=1.0, slope_spread=0.0))[0]


def test_sentences_describe_the_priors_of_images():
    plain = sentences(Priors())
    gain, *rest = (sentence for sentence in sentences(IMAGES) if sentence not in plain)
    assert gain.startswith("Annealing a known learning rate to zero removes 9 % to 61 % of the loss (90 %)")
    assert rest == ["The ends of intervals allow that removal to differ by 49 %."]
