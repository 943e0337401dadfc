"""Waste of scripted runs whose energy per cause is known."""

import math
import random

import pytest

from profiler import load_run
from profiler.errors import UsageError
from tests.support.runs import law, write_run
from tests.support.scripted_tables import SECONDS, WATTS, Script


def waste_of(run, **options):
    from profiler.reporting.waste import waste_lines

    return {one.name: one for one in waste_lines(run, **options)}


def holds(one, joules):
    assert one.joules == pytest.approx(joules, rel=1e-6)
    assert one.low <= joules <= one.high
    assert "up to " in one.remedy


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path / "run")


def improving(script, steps=400):
    for number in range(1, steps + 1):
        script.step(law(number))
    return script


def test_a_healthy_run_has_none(tmp_path):
    assert load_run(write_run(tmp_path / "run")).waste() == ()


def test_repeated_steps_are_lost_to_restarts(script):
    found = waste_of(improving(script.span("setup", 2.0).span("lost", 20.0)).run())
    assert set(found) == {"lost_to_restarts"}
    holds(found["lost_to_restarts"], 20.0 * WATTS)
    assert found["lost_to_restarts"].share == pytest.approx(20.0 / 122.0)


def test_all_after_the_last_finite_loss_is_nonfinite(script):
    improving(script, 300)
    for _ in range(100):
        script.step(math.nan)
    found = waste_of(script.span("evaluation", 5.0).run())
    assert set(found) == {"nonfinite"}
    holds(found["nonfinite"], (100 * SECONDS + 5.0) * WATTS)


def test_losses_that_became_finite_again_are_no_waste(script):
    for number in range(1, 401):
        script.step(math.inf if 100 <= number < 140 else law(number))
    assert waste_of(script.run()) == {}


def test_each_training_of_a_process_is_judged_alone(script):
    for number in range(1, 301):
        script.step(law(number) if number <= 200 else math.nan)
    script.span("evaluation", 1.0)
    for number in range(1, 301):
        script.step(law(number), training=1)
    found = waste_of(script.run())
    assert set(found) == {"nonfinite"}
    holds(found["nonfinite"], (100 * SECONDS + 1.0) * WATTS)


def test_a_run_of_nan_only_is_all_waste_from_the_first_step(script):
    script.span("setup", 2.0)
    for _ in range(50):
        script.step(math.nan)
    holds(waste_of(script.run())["nonfinite"], 50 * SECONDS * WATTS)


def test_energy_after_a_plateau_began(script):
    for number in range(1, 1001):
        script.step(2.0 + 3.0 * math.exp(-number / 20))
    found = waste_of(script.run())
    # The excess falls to 1 % of the level 2 after 20 ln(150) = 100 steps.
    assert found["after_best_level"].joules == pytest.approx(900 * SECONDS * WATTS, rel=0.03)
    assert set(found) == {"after_best_level"}


def test_a_noisy_curve_that_was_flat_from_the_start(script):
    chance = random.Random(3)
    for _ in range(600):
        script.step(3.4 * math.exp(chance.gauss(0.0, 0.02)))
    assert waste_of(script.run())["after_best_level"].share > 0.8


def test_energy_after_a_rise_began(script):
    for number in range(1, 801):
        script.step(law(number) if number <= 400 else law(400) * (1 + (number - 400) / 100))
    found = waste_of(script.run())
    assert found["after_best_level"].joules == pytest.approx(400 * SECONDS * WATTS, rel=0.1)


def test_evaluation_counts_beyond_its_allowed_share(script):
    improving(script)
    script.span("evaluation", 25.0)
    found = waste_of(script.run())["evaluation"]
    holds(found, (25.0 - 12.5) * WATTS)
    assert found.allowed_share == 0.1
    assert waste_of(script.run(), allowed_share=0.2) == {}
    with pytest.raises(UsageError, match="allowed_share"):
        waste_of(script.run(), allowed_share=2.0)


def test_stalls_are_idle(script):
    improving(script)
    found = waste_of(script.span("stall", 10.0, watts=100.0).run())
    assert set(found) == {"idle"}
    holds(found["idle"], 1000.0)


def test_waits_for_data(script):
    for number in range(1, 401):
        wait = 0.05 + 0.1 * (number % 40 >= 20)
        script.step(law(number), seconds=0.25 + wait, data=wait, watts=WATTS)
    found = waste_of(script.run())
    assert set(found) == {"data_wait"}
    assert found["data_wait"].joules == pytest.approx(400 * 0.1 * WATTS, rel=0.05)


def test_waits_behind_which_the_gpu_works_are_none(script):
    for number in range(1, 401):
        script.step(law(number), data=0.05 + 0.1 * (number % 40 >= 20))
    assert waste_of(script.run()) == {}


def throttled(script, reasons):
    """A run whose steps 200 to 299 take twice as long and as many joules; the board states the reason then."""
    for number in range(1, 401):
        script.step(law(number), seconds=SECONDS * (2 if 200 <= number < 300 else 1))
    begin, end = script.steps[199]["start_seconds"], script.steps[298]["end_seconds"]
    samples = script.samples()
    inside = (samples["time_seconds"] >= begin) & (samples["time_seconds"] < end)
    samples["throttle"] = inside.map({True: reasons, False: "none"})
    return script.run(samples)


@pytest.mark.parametrize("reasons", ["thermal", "hw_power_brake", "power_cap|sw_thermal_slowdown"])
def test_throttled_steps_count_with_what_they_cost_more(script, reasons):
    found = waste_of(throttled(script, reasons))
    assert set(found) == {"throttled"}
    assert found["throttled"].joules == pytest.approx(100 * SECONDS * WATTS, rel=0.03)


@pytest.mark.parametrize("reasons", ["none", "power_cap", "sw_power_cap", "idle", ""])
def test_a_power_limit_is_no_throttling(script, reasons):
    assert waste_of(throttled(script, reasons)) == {}


def test_no_joule_has_two_causes(script):
    """All causes at once, each in the rows of another."""
    script.span("setup", 2.0).span("lost", 30.0)
    for number in range(1, 401):
        script.step(2.0 + 3.0 * math.exp(-number / 10), seconds=0.3, data=0.05 + 0.1 * (number % 2))
        if number % 50 == 0:
            script.span("evaluation", 5.0).span("stall", 3.0)
    for _ in range(200):
        script.step(math.nan, data=0.2)
    found = waste_of(script.run())
    assert found["lost_to_restarts"].joules == pytest.approx(30.0 * WATTS)
    assert found["nonfinite"].joules == pytest.approx((200 * SECONDS + 8.0) * WATTS)
    assert sum(one.joules for one in found.values()) <= script.joules
    assert sum(one.share for one in found.values()) <= 1.0


def test_small_causes_are_not_reported(script):
    improving(script)
    assert waste_of(script.span("stall", 1.0).run()) == {}


def test_a_run_without_energy_or_steps_has_none(script):
    assert waste_of(script.span("setup", 5.0).run()) == {}
    assert load_run(write_run(script.path.parent / "one", steps=1)).waste() == ()
