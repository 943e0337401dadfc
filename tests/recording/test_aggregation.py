"""Rows of the logs: single steps at first, aligned blocks later, sums exact to the microjoule."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.recording.aggregation import RowBuilder
from profiler.recording.device_selection import UNUSED_GPUS, select
from profiler.recording.ledger import Ledger
from profiler.recording.segmentation import Tile
from profiler.recording.steps import Step
from profiler.recording.timeline import Timeline
from profiler.records import Domain, Provenance, Reading
from profiler.storage.schema import SPANS, STEPS, SpanRow, StepRow, category_of
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import rows_of


def domain(name, provenance=Provenance.COUNTER, *, billed=True):
    return Domain(name=name, source="test", provenance=provenance, billed=billed)


def metered(watts, seconds=100_000, *, jitter=0.0):
    """Return a counter at constant power; with ``jitter`` its readings are irregular fractions of a microjoule."""
    timeline = Timeline()
    for n in range(1001):
        timeline.add(
            Reading(
                domain="d",
                time_ns=round(n * seconds * SECOND / 1000),
                energy_joules=watts * seconds * n / 1000 + jitter * n,
            )
        )
    return timeline


def ledger(**timelines):
    made = Ledger()
    for name, timeline in timelines.items():
        made.join(domain(name.replace("_", ":")), timeline, 0)
    return made


def tile(start, end, loss=1.0, label="", training=0):
    event = StepEvent(Kind.OPEN, end, loss, (), 1, start, 7, 3, 0.1, None, training=training)
    return Tile(start, end, label, Step(event))


def span(start, end, label="stall"):
    return Tile(start, end, label)


def run(tiles, bills, *, adapt_every=SECOND // 4):
    """Return all rows of a run, as the pipeline gets them."""
    builder, rows, due = RowBuilder(bills, 0), [], 0
    for one in tiles:
        builder.add(one)
        if one.end_ns >= due:
            rows += taken(builder)
            builder.adapt(one.end_ns)
            due = one.end_ns + adapt_every
    builder.close()
    return rows + taken(builder)


def taken(builder):
    """Return the completed rows of a builder."""
    found = []
    for rows in builder.take():
        found += [rows] if isinstance(rows, SpanRow) else rows_of(rows)
    return found


def added(builder, *tiles):
    """Add tiles, and return the rows that they complete."""
    for one in tiles:
        builder.add(one)
    return taken(builder)


def steady(count, *, per_second, start=0):
    period = SECOND // per_second
    return [tile(start + n * period, start + (n + 1) * period) for n in range(count)]


# -- phases of steps -----------------------------------------------------------------------------------------------


def timed(start, end, *, ready=0, data=0, first=None, inner=0, backwards=1):
    """Return a step of 10 ns of backward pass and 5 ns of optimizer."""
    event = StepEvent(
        Kind.OPEN, end, 1.0, (), backwards, end - 15 if first is None else first, 10, 5, 0.1, None,
        data, ready, inner,
    )  # fmt: skip
    return Tile(start, end, "", Step(event))


def phases(*tiles):
    (*_, row) = run(tiles, ledger())
    return row.data_seconds, row.forward_seconds, row.backward_seconds, row.optimizer_seconds


def test_forward_pass_begins_when_the_batch_is_ready():
    assert phases(timed(0, 100, ready=30, data=25)) == (25, 55, 10, 5)


def test_forward_pass_begins_with_the_step_without_a_data_loader():
    assert phases(timed(0, 100)) == (None, 85, 10, 5)


def test_forward_pass_includes_time_between_backward_passes():
    assert phases(timed(0, 100, ready=30, data=25, first=60, inner=12)) == (25, 42, 10, 5)


def test_step_without_backward_pass_has_no_phases():
    assert phases(timed(0, 100, first=0, backwards=0)) == (None, None, None, None)


def test_stall_before_a_step_is_in_no_phase():
    """The step begins when the loader's stall has ended."""
    assert phases(span(0, 80), timed(80, 100, ready=82, data=82)) == (2, 3, 10, 5)
    assert phases(span(0, 85), timed(85, 100, ready=82, data=82)) == (0, 0, 10, 5), (
        "loaded, though not in the step"
    )


def test_block_sums_the_phases_of_its_steps():
    builder, rows = RowBuilder(ledger(), 0), []
    builder._stride, builder.steps = 4, 10_000
    for n in range(4):
        rows += added(builder, timed(100 * n, 100 * n + 100, ready=100 * n + 30, data=25))
    (row,) = rows
    assert (row.data_seconds, row.forward_seconds, row.backward_seconds, row.optimizer_seconds) == (
        100,
        220,
        40,
        20,
    )


@given(
    times=st.lists(st.integers(1, 10**6), min_size=5, max_size=5).map(sorted),
    data=st.integers(0, 10**7),
    lag=st.integers(0, 10**7),
)
def test_phases_never_exceed_the_step(times, data, lag):
    start, ready, first, last, end = times
    event = StepEvent(Kind.OPEN, end, 1.0, (), 1, first, last - first, end - last, 0.1, None, data, ready)
    step = Step(event, lag)
    loaded, forward = step.seconds_of(start + lag)
    assert loaded >= 0
    assert forward >= 0
    assert loaded + forward + step.backward_ns + step.optimizer_ns <= end - start


# -- blocks --------------------------------------------------------------------------------------------------------


def test_first_ten_thousand_steps_get_one_row_each():
    rows = run(steady(10_500, per_second=1000), ledger(gpu_0=metered(100)))
    assert [row.step_count for row in rows[:10_000]] == [1] * 10_000
    assert [row.step for row in rows[:10_000]] == list(range(1, 10_001))
    assert all(row.step_count > 1 for row in rows[10_000:-1])


@pytest.mark.slow
@pytest.mark.parametrize("per_second", [1, 4, 6, 30, 100, 1000, 3000])
def test_later_rows_are_aligned_blocks_at_most_five_per_second(per_second):
    """Blocks are no longer than the step rate requires."""
    seconds = max(30, 200 // per_second)
    tiles = steady(10_000 + seconds * per_second, per_second=per_second)
    rows = run(tiles, ledger(gpu_0=metered(100)))[10_000:]
    whole = rows[1:-1]
    for row in whole:
        assert row.step_count & (row.step_count - 1) == 0, "a power of two"
        assert row.step % row.step_count == 0, "aligned"
    assert len(rows) / seconds <= 5.1
    if per_second >= 5:
        assert len(whole) / seconds > 2
    assert rows[-1].step == len(tiles)


def test_block_ends_at_phases_and_spans():
    tiles = steady(10_000, per_second=1000)
    time = tiles[-1].end_ns
    for n in range(3000):
        label = "warm-up" if n // 333 % 2 else ""
        tiles.append(tile(time, time + 1_000_000, label=label))
        time += 1_000_000
        if n % 451 == 450:
            tiles.append(span(time, time + 2_000_000, "evaluation"))
            time += 2_000_000
    rows = run(tiles, ledger(gpu_0=metered(100)))
    assert all(one.end_seconds == other.start_seconds for one, other in pairwise(rows))
    labels = [t.label for t in tiles if t.step is not None]
    for row in rows:
        if isinstance(row, StepRow):
            assert set(labels[row.step - row.step_count : row.step]) == {row.phase}
    assert sum(row.step_count for row in rows if isinstance(row, StepRow)) == 13_000
    assert sum(isinstance(row, SpanRow) for row in rows) == 3000 // 451


def test_block_ends_with_its_training():
    tiles = steady(10_000, per_second=1000)
    time = tiles[-1].end_ns
    trainings = [0] * 10_000
    for n in range(3000):
        trainings.append(n // 777)
        tiles.append(tile(time, time + 1_000_000, training=trainings[-1]))
        time += 1_000_000
    rows = run(tiles, ledger(gpu_0=metered(100)))
    for row in rows:
        assert set(trainings[row.step - row.step_count : row.step]) == {row.training}
    assert rows[-1].training == 3
    assert len(rows) < 10_500


def test_block_length_follows_the_step_rate():
    slow_start = 10_000 * (SECOND // 1000)
    tiles = steady(10_000, per_second=1000) + steady(300, per_second=10, start=slow_start)
    rows = run(tiles, ledger(gpu_0=metered(100)))
    assert rows[-2].step_count == 2


# -- contents of a block ---------------------------------------------------------------------------------------------


def block(losses):
    """Return the one row of steps with these losses, after ten thousand others."""
    builder = RowBuilder(ledger(gpu_0=metered(100)), 0)
    for one in steady(10_000, per_second=1000):
        added(builder, one)
    builder.adapt(10 * SECOND)
    start = 10 * SECOND
    for n, loss in enumerate(losses):
        assert not added(builder, tile(start + n * 1000, start + (n + 1) * 1000, loss))
    builder.close()
    (row,) = taken(builder)
    return row


@pytest.mark.parametrize(
    ("losses", "loss", "nonfinite"),
    [
        ([1.0, 2.0, 6.0], 3.0, 0),
        ([1.0, math.nan, 3.0], 2.0, 1),
        ([math.inf, -math.inf, -5.0], -5.0, 2),
        ([None, 4.0], 4.0, 0),
        ([None, None], None, 0),
        ([math.inf, math.nan], math.nan, 2),
        ([math.nan, -math.inf, None], -math.inf, 2),
    ],
)
def test_block_loss_is_the_mean_of_finite_losses(losses, loss, nonfinite):
    row = block(losses)
    assert row.loss == pytest.approx(loss, nan_ok=True) if loss is not None else row.loss is None
    assert row.nonfinite_count == nonfinite
    assert row.step_count == row.backwards == len(losses)


def test_block_sums_times_and_keeps_the_last_learning_rate():
    row = block([1.0, 1.0, 1.0])
    assert (row.backward_seconds, row.optimizer_seconds, row.learning_rate) == (21, 9, 0.1)
    assert (row.start_seconds, row.end_seconds) == (10 * SECOND, 10 * SECOND + 3000)


def test_block_times_are_unknown_without_backward_passes():
    event = StepEvent(Kind.OPEN, SECOND, None, (), 0, 0, 0, 0, None, None)
    (row,) = added(RowBuilder(ledger(), 0), Tile(0, SECOND, "", Step(event)))
    assert (row.backward_seconds, row.optimizer_seconds, row.loss, row.learning_rate) == (None,) * 4


# -- joules --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(0, 10**10), min_size=1, max_size=40),
    spans=st.lists(st.booleans(), min_size=40, max_size=40),
    watts=st.lists(st.floats(0, 1e3), min_size=1, max_size=4),
)
@settings(max_examples=50)
def test_rows_add_up_to_the_microjoule(lengths, spans, watts):
    names = ("gpu:0", "cpu:package-0", "dram:package-0", "psys")
    bills = Ledger()
    for name, power in zip(names, watts, strict=False):
        bills.join(domain(name), metered(power, 500, jitter=1e-7 / 3), 0)
    edges = [0, *accumulate(lengths)]
    tiles = [
        span(a, b) if is_span else tile(a, b) for (a, b), is_span in zip(pairwise(edges), spans, strict=False)
    ]
    rows = run(tiles, bills)
    total = bills.bill(edges[-1]).total
    assert sum(row.total_joules for row in rows) == rows[-1].cumulative_joules == total
    for row, cumulative in zip(rows, accumulate(row.total_joules for row in rows), strict=True):
        assert row.cumulative_joules == cumulative
        assert row.total_joules >= 0
        if isinstance(row, StepRow):
            parts = (row.gpu_joules, row.cpu_joules, row.dram_joules, row.other_joules)
            assert sum(part for part in parts if part is not None) == row.total_joules
            assert sum(part is not None for part in parts) == len(watts)


def test_energy_is_unknown_without_a_meter():
    rows = run([span(0, SECOND, "setup"), tile(SECOND, 2 * SECOND)], ledger())
    for row in rows:
        assert (row.total_joules, row.modelled_joules, row.cumulative_joules, row.uncertainty_joules) == (
            None,
        ) * 4
    assert ",,,,,," in STEPS.line(rows[1])
    assert SPANS.line(rows[0]) == "0.000000,1.000000,setup,,,,,0\n"


def test_domain_that_joins_late_counts_from_then_on():
    bills = ledger(cpu_0=metered(50))
    builder = RowBuilder(bills, 0)
    rows = added(builder, tile(0, 10 * SECOND))
    bills.join(domain("gpu:0"), metered(100), builder.billed_ns)
    rows += added(builder, tile(10 * SECOND, 20 * SECOND))
    assert [row.gpu_joules for row in rows] == [None, pytest.approx(1e9)]
    assert [row.total_joules for row in rows] == pytest.approx([0.5e9, 1.5e9])
    assert rows[-1].cumulative_joules == pytest.approx(2e9)


def test_estimated_energy_is_marked():
    bills = ledger(gpu_0=metered(100))
    bills.join(domain("cpu:0", Provenance.MODELLED), metered(50), 0)
    (row,) = added(RowBuilder(bills, 0), tile(0, 10 * SECOND))
    assert (row.total_joules, row.modelled_joules) == pytest.approx((1.5e9, 0.5e9))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("gpu:0", "gpu"),
        ("cpu:package-1", "cpu"),
        ("dram:package-0", "dram"),
        ("psys", "other"),
        ("ane", "other"),
    ],
)
def test_column_of_a_domain(name, column):
    assert category_of(name) == column


# -- selected domains -----------------------------------------------------------------------------------------------

CPU, DRAM, GPUS = domain("cpu:package-0"), domain("dram:package-0"), [domain(f"gpu:{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("domains", "devices", "used", "billed", "missing"),
    [
        ([CPU, DRAM], ["cpu"], [], ["cpu:package-0", "dram:package-0"], []),
        ([CPU, *GPUS], ["cuda:1"], [], ["cpu:package-0", "gpu:1"], []),
        ([CPU, *GPUS], ["cuda"], [], ["cpu:package-0", "gpu:0"], []),
        ([CPU, *GPUS], ["cpu"], [2], ["cpu:package-0", "gpu:2"], []),
        ([CPU, *GPUS], ["cuda:0", "cuda:1"], [0, 1], ["cpu:package-0", "gpu:0", "gpu:1"], []),
        ([CPU], ["cuda:0"], [], ["cpu:package-0"], ["gpu:0"]),
        ([CPU, GPUS[0]], ["cuda:1"], [], ["cpu:package-0"], ["gpu:1"]),
        ([CPU], ["mps:0"], [], ["cpu:package-0"], ["mps:0"]),
        ([GPUS[0]], ["cuda:0"], [], ["gpu:0"], ["cpu"]),
        ([], ["cpu"], [], [], ["cpu"]),
        ([CPU, domain("psys", billed=False)], [], [], ["cpu:package-0"], []),
        ([CPU], ["meta"], [], ["cpu:package-0"], []),
    ],
)
def test_selection_of_counted_domains(domains, devices, used, billed, missing):
    selection = select(domains, devices, used)
    assert list(selection.billed) == billed
    assert list(selection.missing) == missing
    assert not selection.warnings


def test_run_without_cuda_counts_every_gpu_with_a_warning():
    selection = select([CPU, *GPUS], ["cpu"], [])
    assert selection.billed == ("cpu:package-0", "gpu:0", "gpu:1", "gpu:2")
    assert selection.warnings == (UNUSED_GPUS,)


# -- thinning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provenance", [Provenance.INTEGRATED, Provenance.COUNTER])
def test_slow_meter_counts_no_energy_from_before_the_start(provenance):
    """The window starts between two readings, and the domain joins before the second one arrives."""
    domain = Domain(name="node", source="x", provenance=provenance)
    timeline, ledger = Timeline(), Ledger()
    for second in (0, 1, 2):
        energy = 400.0 * second if provenance is Provenance.COUNTER else None
        power = None if energy is not None else 400.0
        timeline.add(Reading(domain="node", time_ns=second * SECOND, energy_joules=energy, power_watts=power))
        if second == 0:
            ledger.join(domain, timeline, SECOND * 4 // 10)
    assert ledger.bill(2 * SECOND).total == pytest.approx(1.6 * 400e6)
