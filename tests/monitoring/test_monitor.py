"""Monitoring during a run: metrics, status line, budget, and no effect on the training."""

import io
import math
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import tqdm
from hypothesis import given
from hypothesis import strategies as st

from profiler import EnergyProfiler
from profiler._compat import write_message
from profiler.budget import Budget
from profiler.config import ProfilerConfig
from profiler.distributed.rank import Identity
from profiler.emissions import Prices
from profiler.energy_profiler import JOB_KEY
from profiler.errors import UsageError
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.lr_trace import RateTrace
from profiler.integrations.callback_base import EPOCH_JOULES
from profiler.monitoring import metrics, monitor, status_line
from profiler.monitoring.live_curve import LiveCurve
from profiler.monitoring.live_forecast import LiveForecast, forecast_run
from profiler.monitoring.monitor import NOTHING, Monitor
from profiler.monitoring.sinks import STEP_KEY
from profiler.records import Forecast, Interval, Progress, Verdict
from tests.support.small_training import scripted, train


def progress(seconds=60.0, *, joules=6000.0, steps=300, watts=None):
    return Progress(
        seconds=seconds,
        steps=steps,
        step_joules=0.9 * joules if joules is not None else 0.0,
        total_joules=joules,
        modelled_joules=0.0,
        watts={"gpu:0": 70.0, "cpu:package-0": 30.0} if watts is None else watts,
    )


def forecast(verdict=Verdict.REACHABLE, low=8000.0, median=10_000.0, high=15_000.0, p=0.02):
    return Forecast(
        verdict=verdict, low=low, median=median, high=high, p_unreachable=p, certain=False,
        energy_ratio=median / 6000.0, reason="",
    )  # fmt: skip


def live_forecast(answer=None, *, target=1.25, at_budget=None, is_tested=True, is_asked=True):
    return LiveForecast(
        joules=6000.0,
        floor=Interval(low=0.8, median=1.0, high=1.1),
        target=target,
        forecast=answer or forecast(),
        at_budget=at_budget,
        is_tested=is_tested,
        is_asked=is_asked,
    )


def columns(step, joules, loss, *, total=1.0, count=1, rate=None):
    """Columns of one finished row as the recorder passes them, with energies in microjoules."""
    return {
        "step": [step],
        "step_count": [count],
        "loss": [loss],
        "nonfinite_count": [0],
        "learning_rate": [rate],
        "total_joules": [round(total * 1e6)],
        "cumulative_joules": [round(joules * 1e6)],
        "training": [0],
    }


def law(joules):
    return 1.0 + 3.0 * joules**-0.4


def curve(points):
    bins = CurveBins()
    for step in range(1, points + 1):
        bins.add(step, law(step))
    return bins


# -- numbers for trackers ------------------------------------------------------------------------------------------


def flatten(now, before=NOTHING, **options):
    defaults = {"level": None, "forecast": None, "budget": Budget(), "prices": Prices()}
    return metrics.flatten(now, before, **defaults | options)


def test_metrics_have_the_keys_of_trackers():
    found = flatten(
        progress(),
        progress(50.0, joules=5000.0, steps=250),
        level=1.5,
        forecast=live_forecast(),
        budget=Budget(energy_joules=12_000.0),
        prices=Prices(grid_gco2e_per_kwh=360.0, price_per_kwh=0.36),
    )
    assert found == {
        "energy/total_joules": 6000.0,
        "energy/modelled_joules": 0.0,
        "energy/step_joules": 18.0,
        "power/total_watts": 100.0,
        "power/gpu0_watts": 70.0,
        "power/cpu_package_0_watts": 30.0,
        "loss/level": 1.5,
        "cost/gco2e": pytest.approx(0.6),
        "cost/money": pytest.approx(0.0006),
        "budget/used": 0.5,
        "forecast/floor": 1.0,
        "forecast/target_loss": 1.25,
        "forecast/more_joules": 4000.0,
        "forecast/more_joules_low": 2000.0,
        "forecast/more_joules_high": 9000.0,
        "forecast/p_unreachable": 0.02,
    }


def test_every_key_is_documented():
    found = flatten(
        progress(),
        forecast=live_forecast(),
        level=1.0,
        budget=Budget(energy_joules=1.0),
        prices=Prices(grid_gco2e_per_kwh=1.0, price_per_kwh=1.0),
    )
    text = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`([a-z]+/\w+)`", text)) == set(found) | {STEP_KEY, JOB_KEY, EPOCH_JOULES}


def test_unknown_values_are_absent():
    assert flatten(progress(joules=None, steps=0, watts={}), forecast=live_forecast()) == {}


def test_infinite_values_are_absent():
    never = forecast(Verdict.UNDETERMINED, median=math.inf, high=math.inf, p=0.6)
    found = flatten(progress(), forecast=live_forecast(never))
    assert "forecast/more_joules" not in found
    assert "forecast/more_joules_high" not in found
    assert found["forecast/more_joules_low"] == 2000.0


@pytest.mark.slow
@given(st.text(min_size=1, max_size=30))
def test_power_keys_are_valid_for_trackers(domain):
    assert re.fullmatch(r"power/[A-Za-z0-9_]*_watts", metrics.power_key(domain))


# -- the line ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (forecast(), "loss 1.250 needs 4.0 kJ more (2.0 kJ to 9.0 kJ)"),
        (forecast(high=math.inf), "loss 1.250 needs 4.0 kJ more (at least 2.0 kJ)"),
        (forecast(low=100.0), "loss 1.250 needs 4.0 kJ more (0 J to 9.0 kJ)"),
        (
            forecast(Verdict.BEYOND_HORIZON, median=1e6),
            "loss 1.250 needs over 2.00 kJ more, out of reach 2 %",
        ),
        (
            forecast(Verdict.UNDETERMINED, median=math.inf, high=math.inf, p=0.7),
            "loss 1.250 needs over 2.0 kJ more, out of reach 70 %",
        ),
        (forecast(Verdict.UNREACHABLE, p=0.999), "loss 1.250 is out of reach (> 99 %)"),
        (forecast(Verdict.REACHED, median=3000.0), "loss 1.250 was reached at 3.00 kJ"),
    ],
    ids=lambda part: str(getattr(part, "verdict", "")),
)
def test_status_line_with_each_verdict(answer, words):
    before = progress(3715.0, joules=4000.0)
    message = status_line.format_status(progress(3725.0), before, level=1.5, forecast=live_forecast(answer))
    assert message == f"1:02:05, 300 steps, 200 W, 6.00 kJ, loss 1.500, {words}"


def test_the_line_compares_the_level_with_the_target_before_the_forecast():
    never = live_forecast(forecast(Verdict.UNDETERMINED, low=6000.0, median=math.inf, high=math.inf, p=0.86))
    message = status_line.format_status(progress(), NOTHING, level=1.2, forecast=never, age_seconds=55.0)
    assert message.endswith("loss 1.200, loss 1.250 is reached")
    default = live_forecast(is_asked=False)
    assert status_line.format_status(progress(), NOTHING, level=1.2, forecast=default).endswith("loss 1.200")


def test_the_line_states_the_age_of_its_forecast():
    message = status_line.format_status(
        progress(), NOTHING, level=1.5, forecast=live_forecast(), age_seconds=55.2
    )
    assert message.endswith("more (2.0 kJ to 9.0 kJ) [forecast 55 s old]")


def test_metrics_of_a_target_that_was_reached_since_the_forecast():
    found = flatten(progress(), level=1.2, forecast=live_forecast())
    assert (found["forecast/more_joules"], found["forecast/p_unreachable"]) == (0.0, 0.0)


def test_status_line_without_unknown_values():
    nothing = progress(12.0, joules=None, steps=0, watts={})
    assert status_line.format_status(nothing, NOTHING, level=None, forecast=None) == "0:00:12, 0 steps"
    assert (
        status_line.format_status(progress(12.0), NOTHING, level=None, forecast=None)
        == "0:00:12, 300 steps, 500 W, 6.00 kJ"
    )


def test_reached_default_target_is_not_reported():
    reached = live_forecast(forecast(Verdict.REACHED), is_asked=False)
    assert status_line.format_status(progress(), NOTHING, level=1.5, forecast=reached).endswith("loss 1.500")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_line_replaces_a_progress_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with tqdm.tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        write_message("12 steps", lead=status_line.line_prefix())
        bar.refresh()
    whole = sys.stderr.getvalue()
    assert "\r\x1b[Kenergy-profiler: 12 steps\n" in whole
    assert whole.split("12 steps\n")[1].startswith("\r")


def test_line_is_alone_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with tqdm.tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        write_message("12 steps", lead=status_line.line_prefix())
    assert "energy-profiler: 12 steps" in re.split(r"[\r\n]", sys.stderr.getvalue())


@pytest.mark.parametrize("stream", [None, "closed"])
def test_closed_stderr_is_ignored(monkeypatch, stream):
    gone = None if stream is None else io.StringIO()
    if gone is not None:
        gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    write_message("12 steps", lead=status_line.line_prefix())


# -- the curve -----------------------------------------------------------------------------------------------------


def test_the_live_loss_curveis_that_of_the_record():
    loss_curve = LiveCurve()
    for step in range(1, 200):
        loss_curve.add_rows(columns(step, 2.0 * step, law(step), total=1.0))
    expected = CurveBins(origin_joules=1.0)
    for step in range(1, 200):
        expected.add(2.0 * step - 0.5, law(step))
    assert loss_curve.copy()[0].bins == expected.bins


def test_row_without_energy_or_loss_is_ignored():
    loss_curve = LiveCurve()
    loss_curve.add_rows(columns(1, 1.0, None))
    loss_curve.add_rows(columns(2, 1.0, 2.0) | {"cumulative_joules": [None]})
    assert loss_curve.bins.points == 0
    assert loss_curve.level() is None


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=50))
def test_level_is_between_the_losses(losses):
    loss_curve = LiveCurve()
    for step, loss in enumerate(losses, 1):
        loss_curve.add_rows(columns(step, float(step), loss, total=0.1))
    assert min(losses) * (1 - 1e-9) <= loss_curve.level() <= max(losses) * (1 + 1e-9)


def test_level_is_recent():
    loss_curve = LiveCurve()
    for step in range(1, 2001):
        loss_curve.add_rows(columns(step, float(step), 5.0 if step < 1800 else 1.0))
    assert loss_curve.level() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("loss", "level"),
    [
        (lambda step: 0.0, 0.0),
        (lambda step: -3.0, -3.0),
        (lambda step: 5.0 - 8.0 * (step > 1000), -3.0),  # a log-likelihood that becomes negative
        (lambda step: -1.0 if step % 2 else 3.0, 1.0),  # a policy loss
        (lambda step: 2.0 if step > 1000 else 0.0, 2.0),
    ],
)
def test_level_counts_losses_of_zero_or_less(loss, level):
    loss_curve = LiveCurve()
    for step in range(1, 2001):
        loss_curve.add_rows(columns(step, float(step), loss(step)))
    assert loss_curve.level() == pytest.approx(level, abs=0.1)


def test_copy_does_not_change():
    loss_curve, stop = LiveCurve(), threading.Event()

    def record():
        step = 0
        while not stop.is_set():
            step += 1
            loss_curve.add_rows(columns(step, float(step), law(step), rate=0.1))

    thread = threading.Thread(target=record)
    thread.start()
    try:
        for _ in range(200):
            bins, rates = loss_curve.copy()
            before = {index: tuple(sums) for index, sums in bins.bins.items()}, len(rates.points)
            assert sum(sums[0] for sums in bins.bins.values()) == bins.points
            assert ({index: tuple(sums) for index, sums in bins.bins.items()}, len(rates.points)) == before
    finally:
        stop.set()
        thread.join()


# -- what the curve says -------------------------------------------------------------------------------------------


def test_default_target_is_the_next_lower_loss():
    found = forecast_run(curve(2000), RateTrace(), Budget())
    assert found.floor.median < found.target < law(2000)
    assert found.forecast.median > 2000


def test_target_and_budget_are_forecast():
    found = forecast_run(curve(2000), RateTrace(), Budget(target_loss=1.1, energy_joules=3000.0))
    assert found.target == 1.1
    assert found.at_budget.median == pytest.approx(law(3000), rel=0.02)
    assert found.is_tested


def test_losses_of_optimizers_that_take_turns_have_no_forecast():
    wanted = Budget(target_loss=0.9, energy_joules=1e5)
    assert forecast_run(curve(2000), RateTrace(), wanted) is not None
    assert forecast_run(curve(2000), RateTrace(), wanted, alternating=True) is None
    assert forecast_run(curve(2000), RateTrace(), wanted, reinforced=True) is None


def test_short_curve_has_no_forecast():
    assert forecast_run(curve(3), RateTrace(), Budget()) is None


@pytest.mark.parametrize(
    ("target", "budget", "out"),
    [(1.05, 2200.0, True), (1.05, 1e5, False), (1.05, None, False), (0.9, None, True), (1.4, 2200.0, False)],
)
def test_targets_out_of_reach(target, budget, out):
    """For 1 + 3 J^-0.4 after 2,000 J: 1.05 takes 27.9 kJ in all, 0.9 is below the floor, 1.4 was reached."""
    wanted = Budget(target_loss=target, energy_joules=budget)
    assert forecast_run(curve(2000), RateTrace(), wanted).is_out_of_reach(wanted) is out


def test_untested_forecast_is_never_out_of_reach():
    never = live_forecast(forecast(Verdict.UNREACHABLE, p=0.99), is_tested=False)
    assert not never.is_out_of_reach(Budget(target_loss=0.5))


# -- the view ------------------------------------------------------------------------------------------------------


class Alarms:
    """Session without a record or a scheduler, that collects the warnings of a monitor."""

    has_record = can_plan = False

    def __init__(self):
        self.messages = []

    def warn(self, message):
        self.messages.append(message)


@pytest.fixture
def watched(monkeypatch):
    """Function that makes a monitor with a short period, closed at the end."""
    monkeypatch.setattr(monitor, "_FIT_SHARE", 1.0)
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.02)
    made = []

    def make(**keywords):
        one, session = Monitor(ProfilerConfig(**keywords)), Alarms()
        one.attach(session)
        made.append(one)
        return one, session.messages

    yield make
    for one in made:
        one.close()


def feed(live, first, last, loss=law):
    for step in range(first, last + 1):
        live.observe(columns(step, float(step), loss(step)))
    live.advance(progress(float(last), joules=float(last), steps=last))


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_thread_starts_with_the_first_request(watched):
    live, _ = watched()
    feed(live, 1, 100)
    assert "energy-profiler-live" not in [thread.name for thread in threading.enumerate()]
    assert live.metrics()["energy/total_joules"] == 100.0
    feed(live, 101, 200)
    wait_for(lambda: "forecast/floor" in live.metrics())


def test_no_metrics_before_the_start(watched):
    assert watched()[0].metrics() == {}


def test_monitor_without_status_line_is_silent(watched, capsys):
    live, _ = watched(target_loss=1.05)
    feed(live, 1, 500)
    wait_for(lambda: "forecast/floor" in live.metrics())
    assert capsys.readouterr().err == ""


def test_used_budget_is_reported_once(watched):
    live, alarms = watched(energy_budget=50.0)
    feed(live, 1, 49)
    assert not live.should_stop
    feed(live, 50, 60)
    feed(live, 61, 70)
    assert live.should_stop
    assert alarms == ["the energy budget of 50.0 J is used"]


def test_target_out_of_reach_is_reported_after_two_fits(watched):
    live, alarms = watched(target_loss=0.5, energy_budget=1e6)
    last = 500
    while not live.should_stop and last < 20_000:
        feed(live, last - 499, last)
        time.sleep(0.05)
        last += 500
    assert alarms == ["loss 0.5000 will not be reached within 1.00 MJ, with at least 95 % probability"]
    assert last > 1000, "one fit is not enough"


def test_failure_of_the_monitor_does_not_end_the_recording(watched, monkeypatch, capsys):
    monkeypatch.setattr(monitor, "forecast_run", lambda *_, **__: 1 / 0)
    live, _ = watched(live=True)
    feed(live, 1, 100)
    live._thread.join()
    assert capsys.readouterr().err == (
        "energy-profiler: live monitoring failed (ZeroDivisionError: division by zero); the recording continues\n"
    )
    feed(live, 101, 200)
    assert live.metrics()["energy/total_joules"] == 200.0


# -- in a training -------------------------------------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.1)
    monkeypatch.setattr(monitor, "_FIT_SHARE", 1.0)


def descend(steps, prof, *, pause=0.002):
    """Train with a loss that follows a power law; return the number of steps before ``should_stop``."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for step in range(1, steps + 1):
        (weight.sum() * law(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if prof.should_stop:
            return step
        time.sleep(pause)
    return steps


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_status_lines_between_the_first_line_and_the_report(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], live=True) as prof:
        descend(400, prof)
    message = capsys.readouterr().err.splitlines()
    lines = [one for one in message if re.match(r"energy-profiler: \d+:\d\d:\d\d, [\d,]+ steps", one)]
    assert lines
    assert message[0].startswith("energy-profiler: recording")
    assert any(re.search(r", 100 W, \S+ k?J, loss \d\.\d+", one) for one in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_other_ranks_write_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Identity, "is_main", False)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], live=True) as prof:
        descend(300, prof)
        assert prof.metrics()["energy/total_joules"] > 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_no_status_line_by_default(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.05)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        capsys.readouterr()
        prof.metrics()
        descend(200, prof)
        assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_metrics_agree_with_the_record(tmp_path):
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()])
    assert prof.metrics() == {}
    with prof:
        descend(300, prof)
        during = prof.metrics()
    after = prof.metrics()
    assert 0 < during["energy/total_joules"] < after["energy/total_joules"]
    assert after["energy/total_joules"] == pytest.approx(prof.run.total_joules)
    assert after["power/cpu_package_0_watts"] == pytest.approx(100, rel=0.05)
    assert after["loss/level"] == pytest.approx(law(285), rel=0.05)


@pytest.mark.slow
def test_second_run_starts_empty(tmp_path):
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=1.0)
    with prof:
        assert descend(1000, prof) < 1000
    with prof:
        assert not prof.should_stop
        assert prof.metrics().get("energy/total_joules", 0.0) < 1.0


@pytest.mark.slow
def test_loop_stops_at_its_budget(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=30.0) as prof:
        assert descend(5000, prof) < 5000
    assert 30 <= prof.run.total_joules < 1000
    assert prof.run.warnings == ("the energy budget of 30.0 J is used",)
    assert capsys.readouterr().err.count("energy-profiler: the energy budget of 30.0 J is used") == 1
    assert prof.run.meta["goals"] == {"energy_budget_joules": 30.0}


@pytest.mark.slow
def test_budget_includes_the_resumed_run(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "one", sensors=[scripted()]) as first:
        train(3)
        checkpoint = first.state_dict()
    prof = EnergyProfiler(run_dir=tmp_path / "two", sensors=[scripted()], energy_budget=1e6)
    prof.load_state_dict(checkpoint | {"joules": 1e6 - 10.0})
    with prof:
        assert descend(5000, prof) < 5000
    assert prof.metrics()["energy/total_joules"] < 1000
    assert prof.metrics()["budget/used"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_on_budget_runs_once_on_the_training_thread(tmp_path):
    calls = []

    def on_budget(sentence):
        calls.append((sentence, threading.current_thread(), len(losses)))

    losses = []
    prof = EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0, on_budget=on_budget
    )
    with prof:
        train(300, pause=0.003, after=lambda step, loss: losses.append(loss))
    ((sentence, thread, when),) = calls
    assert sentence == "the energy budget of 20.0 J is used"
    assert thread is threading.main_thread()
    assert 0 < when < 300
    assert len(prof.run.steps) == 300, "the call is no step"


@pytest.mark.slow
def test_on_budget_runs_at_the_end_without_a_further_step(tmp_path):
    calls = []
    prof = EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0, on_budget=calls.append
    )
    with prof:
        train(2)
        time.sleep(0.6)
    assert calls == ["the energy budget of 20.0 J is used"]


@pytest.mark.slow
def test_exception_of_on_budget_is_logged(tmp_path, capsys):
    def on_budget(sentence):
        raise ValueError(sentence)

    prof = EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0, on_budget=on_budget
    )
    with prof:
        losses = train(300, pause=0.003)
    assert len(losses) == len(prof.run.steps) == 300
    assert (
        capsys.readouterr().err.count("energy-profiler: on_budget failed (ValueError: the energy budget") == 1
    )


@pytest.mark.parametrize("on_budget", ["warn", lambda sentence: None])
def test_budget_used_at_the_end_hides_no_warning(tmp_path, on_budget):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=1e-6, on_budget=on_budget
    ) as prof:
        weight.backward(torch.ones(2))
        optimizer.step()
        time.sleep(0.05)
    assert prof.should_stop
    assert any("several elements" in status_line for status_line in prof.run.warnings)


def test_late_fit_calls_nothing_and_leaves_no_hook(tmp_path, monkeypatch):
    calls, close, backward = [], Monitor.close, torch.autograd.backward

    def late(live):
        live._trip("the target will not be reached")
        close(live)

    monkeypatch.setattr(Monitor, "close", late)
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], target_loss=1e-9, on_budget=calls.append
    ) as prof:
        train(3)
    assert prof.should_stop
    assert torch.autograd.backward is backward
    train(3)
    assert calls == []


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "code"), [(300, 3), (2, None)], ids=["a step follows", "at the end"])
def test_on_budget_may_end_the_training(tmp_path, steps, code):
    def go():
        with prof:
            train(steps, pause=0.003)
            time.sleep(0.6)

    prof = EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0, on_budget=lambda _: sys.exit(3)
    )
    assert exit_code_of(go) == code
    assert prof.run.meta["status"] == ("failed" if code else "completed")
    assert (len(prof.run.steps) == steps) is (code is None)
    assert prof.run.total_joules > 20.0


def exit_code_of(action):
    """Return the exit code of a SystemExit; None without one."""
    try:
        action()
    except SystemExit as end:
        return end.code


def test_budget_without_sensors_is_reported(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[], energy_budget=20.0) as prof:
        train(3)
    assert not prof.should_stop
    assert "energy_budget= has no effect: no sensor on this machine can be read" in prof.run.warnings
    assert "energy/total_joules" not in prof.metrics()


@pytest.mark.slow
def test_target_is_in_every_report(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], target_loss=1.0777) as prof:
        descend(400, prof, pause=0.001)
    printed = capsys.readouterr().err
    assert re.search(r"^ *1\.078 +asked ", printed, re.MULTILINE)
    assert prof.run.report(tmp_path / "report.txt").read_text().rstrip() in printed


def test_losses_are_the_same_with_monitoring(tmp_path):
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], live=True, energy_budget=5.0, target_loss=0.1
    ):
        watched = train(100, pause=0.001)
    assert watched == train(100)


@pytest.mark.parametrize(
    "options",
    [
        {"energy_budget": 0.0},
        {"energy_budget": -1},
        {"energy_budget": math.inf},
        {"energy_budget": "1 kW"},
        {"energy_budget": "many"},
        {"energy_budget": True},
        {"target_loss": math.nan},
        {"target_loss": True},
        {"on_budget": "stop"},
    ],
    ids=str,
)
def test_invalid_budget_is_refused(options):
    with pytest.raises(UsageError):
        EnergyProfiler(**options)


def test_repr(tmp_path):
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()])
    assert repr(prof) == "EnergyProfiler(not started)"
    with prof:
        train(3)
    assert re.fullmatch(rf"EnergyProfiler\(completed, 3 steps, \S+ m?J, {tmp_path}/run\)", repr(prof))
