"""Energy across times in which the sampler could not run: counted once, and covered by the interval."""

import subprocess
import sys

import pytest

from profiler.recording.sampler import GuardedSensor, Sampler
from profiler.recording.warning_log import WarningLog
from profiler.records import Domain, Provenance
from profiler.testing.clock import FakeClock
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from profiler.uncertainty import Z_90
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import build_pipeline
from tests.support.starvation import HeldTimer, RowStore, record_with_hold

HOLDS = [1, 2, 4, 6, 10, 30]
LEFT = [0, 0.3, 3, 12]
WAVES = {
    "constant": Waveform.constant(300.0),
    "square": Waveform.square(low=100.0, high=400.0, period_seconds=0.73),
    "slow square": Waveform.square(low=60.0, high=400.0, period_seconds=7.0),
    "idle in the hold": Waveform(points=((0.0, 400.0), (6.5, 400.0), (6.5, 60.0))),
    "busy in the hold": Waveform(points=((0.0, 90.0), (3.0, 350.0), (4.0, 90.0), (6.5, 90.0), (6.5, 400.0))),
}
COUNTER = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.1)
RAPL = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.001)
POWER = Domain(name="gpu:0", source="test", provenance=Provenance.INTEGRATED, update_period_seconds=0.1)


holds = pytest.mark.parametrize("hold", HOLDS)
lefts = pytest.mark.parametrize("left", LEFT)
waves = pytest.mark.parametrize("wave", WAVES.values(), ids=WAVES.keys())
moments = pytest.mark.parametrize("slow_read", [False, True], ids=["waiting", "reading"])


def tolerance(outcome, domain):
    """Return 1 % of the energy, or that of one update interval if it is larger."""
    return max(0.01 * outcome.true_joules, 400.0 * domain.update_period_seconds)


SOME = [(2, 0), (2, 3), (10, 0.3), (10, 12)]


@pytest.mark.parametrize(("hold", "left"), SOME)
@pytest.mark.parametrize("domain", [COUNTER, RAPL, POWER], ids=["counter", "rapl", "power"])
def test_total_across_a_hold(domain, hold, left):
    """A part of the matrix below that runs fast."""
    for slow_read in (False, True):
        outcome = record_with_hold(domain, WAVES["slow square"], hold=hold, left=left, slow_read=slow_read)
        reach = Z_90 * outcome.sigma if domain is POWER else 0.0
        assert abs(outcome.joules - outcome.true_joules) <= reach + tolerance(outcome, domain)


@pytest.mark.slow
@waves
@lefts
@holds
@pytest.mark.parametrize("domain", [COUNTER, RAPL], ids=["counter", "rapl"])
def test_total_of_a_counter_is_exact_across_a_hold(domain, hold, left, wave):
    """Even if the last value read before the hold arrives after it."""
    for slow_read in (False, True):
        outcome = record_with_hold(domain, wave, hold=hold, left=left, slow_read=slow_read)
        assert outcome.joules == pytest.approx(outcome.true_joules, abs=tolerance(outcome, domain))


@pytest.mark.slow
@waves
@lefts
@holds
def test_interval_of_integrated_power_covers_a_hold(hold, left, wave):
    for slow_read in (False, True):
        outcome = record_with_hold(POWER, wave, hold=hold, left=left, slow_read=slow_read)
        reach = Z_90 * outcome.sigma + tolerance(outcome, POWER)
        assert abs(outcome.joules - outcome.true_joules) <= reach


@moments
@pytest.mark.parametrize("hold", [1.5, 5, 12])
@pytest.mark.parametrize("domain", [COUNTER, RAPL, POWER], ids=["counter", "rapl", "power"])
def test_one_warning_names_the_hold_and_its_share_of_energy(domain, hold, slow_read):
    outcome = record_with_hold(domain, Waveform.constant(300.0), hold=hold, left=3, slow_read=slow_read)
    (warning,) = outcome.warnings
    seconds = float(warning.partition("for up to ")[2].split()[0])
    share = float(warning.partition("in which ")[2].partition("%")[0]) / 100
    assert seconds == pytest.approx(hold, abs=0.2)
    assert share == pytest.approx(hold / (hold + 9.3), abs=0.03)
    assert ("estimated" in warning) == (domain is POWER)


def test_sensor_that_is_always_slow_is_named_instead_of_a_delay():
    """One slow read is a delay of the thread; two in a row are the sensor's."""
    clock = FakeClock()
    replay = ReplaySensor([ScriptedMeter(domain=COUNTER, waveform=Waveform.constant(300.0))], clock=clock)

    class Slow:
        domains = (COUNTER,)

        def read(self):
            readings = replay.read()
            clock.advance(1.5)
            return readings

    pipeline, *_ = build_pipeline([COUNTER], RowStore())
    timer = HeldTimer(clock, lambda _: None)
    timer.stop_ns = clock.now_ns() + 12 * SECOND
    sampler = Sampler([GuardedSensor(Slow(), WarningLog(lambda _: None))], pipeline, timer=timer)
    pipeline.begin(clock.now_ns())
    for now_ns in sampler.drain_times():
        pipeline.drain(now_ns)
    (warning,) = sampler.findings()
    assert warning.startswith("reading gpu:0 takes up to 1.50 s: ")
    assert sampler.cost.late_samples == 0


def test_no_warning_without_a_delay():
    outcome = record_with_hold(COUNTER, Waveform.constant(300.0), hold=0, left=3)
    assert outcome.warnings == []
    assert (outcome.cost.late_samples, outcome.cost.missed_samples, outcome.cost.delayed_seconds) == (0, 0, 0)


@moments
def test_late_and_missed_polls_are_counted(slow_read):
    outcome = record_with_hold(
        COUNTER, Waveform.constant(300.0), hold=5, left=3, before=15.3, slow_read=slow_read
    )
    assert outcome.cost.late_samples == 1
    assert outcome.cost.missed_samples == pytest.approx(5 / 0.077, rel=0.2)
    assert outcome.cost.longest_delay_seconds == pytest.approx(5, abs=0.1)


@waves
@pytest.mark.parametrize("hold", [2, 6, 30])
def test_steps_after_a_hold_have_their_own_energy(hold, wave):
    outcome = record_with_hold(COUNTER, wave, hold=hold, left=5)
    after = [
        row for row in outcome.steps if outcome.start_ns + row.start_seconds > outcome.resume_ns + SECOND // 5
    ]
    assert len(after) > 40
    for row in after:
        assert row.total_joules / 1e6 == pytest.approx(outcome.true_step_joules(row), abs=0.25 * 400 * 0.1)
        assert row.total_joules > 0


@waves
def test_steps_within_a_hold_are_uncertain_and_covered(wave):
    outcome = record_with_hold(COUNTER, wave, hold=6, left=3, trains=True)
    held_ns = outcome.resume_ns - 6 * SECOND
    inside = [
        row for row in outcome.steps
        if held_ns < outcome.start_ns + row.start_seconds and outcome.start_ns + row.end_seconds < outcome.resume_ns
    ]  # fmt: skip
    assert len(inside) > 50
    misses = [
        abs(row.total_joules / 1e6 - outcome.true_step_joules(row)) > Z_90 * row.uncertainty_joules
        for row in inside
    ]
    assert sum(misses) <= 0.1 * len(misses)
    assert min(row.uncertainty_joules for row in inside[5:-5]) > 50


REAL_TIME = """
import ctypes, os, signal, subprocess, sys, time
import torch
from profiler import EnergyProfiler
from profiler.records import Domain, Provenance
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform

how, provenance, hold, left, path = sys.argv[1:]
domain = Domain(
    name="gpu:0", source="test", provenance=Provenance(provenance), update_period_seconds=0.1
)
wave = Waveform.square(low=100.0, high=400.0, period_seconds=0.73)
sensor = ReplaySensor([ScriptedMeter(domain=domain, waveform=wave)])
origin = time.monotonic()
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=0.1)

def train(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        weight.sum().backward()
        optimizer.step()
        time.sleep(0.02)

with EnergyProfiler(run_dir=path, sensors=[sensor]) as prof:
    train(2.5)
    if how == "gil":
        ctypes.PyDLL(None).sleep(int(hold))
    else:
        wake = f"sleep {hold}; kill -CONT {os.getpid()}"
        waker = subprocess.Popen(["sh", "-c", wake])
        os.kill(os.getpid(), signal.SIGSTOP)
        waker.wait()
    train(float(left))
meta = prof.run.meta
start = meta["clock"]["monotonic_seconds"] - origin
truth = wave.joules(start + meta["totals"]["window_seconds"]) - wave.joules(start)
print(prof.run.total_joules, truth, meta["totals"]["edge_joules"], len(meta["warnings"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("left", ["0", "0.5"])
@pytest.mark.parametrize("provenance", ["counter", "integrated"])
@pytest.mark.parametrize("how", ["gil", "sigstop"])
def test_total_across_a_hold_in_real_time(how, provenance, left, tmp_path):
    arguments = [how, provenance, "4", left, str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", REAL_TIME, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    joules, truth, sigma, warnings = map(float, done.stdout.split())
    error = max(0.01 * truth, 40.0) + (0 if provenance == "counter" else Z_90 * sigma)
    assert abs(joules - truth) <= error
    assert warnings >= 1
    assert done.stderr.count("could not be read for up to") >= 1
