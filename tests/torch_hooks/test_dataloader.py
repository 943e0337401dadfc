"""Loading and evaluation, detected in the iterators of torch's data loaders."""

import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from profiler.torch_hooks.manager import hook_manager
from tests.support.training_loops import batch, loss_of, network, sgd

MILLISECOND = 1_000_000
BATCHES = 3


class Slow(Dataset):
    """Each batch of four takes 5 ms to load."""

    def __init__(self, batches=BATCHES):
        self.batches = batches

    def __len__(self):
        return 4 * self.batches

    def __getitem__(self, index):
        time.sleep(0.005 if index % 4 == 0 else 0)
        return torch.ones(4), torch.ones(1)


class Training:
    """A model that trains on given batches and evaluates in 5 ms per batch."""

    def __init__(self):
        self.model = network()
        self.optimizer = sgd(self.model)

    def step(self, data):
        self.optimizer.zero_grad()
        loss_of(self.model, data).backward()
        self.optimizer.step()

    def epoch(self, loader=None):
        for data in DataLoader(Slow(), 4) if loader is None else loader:
            self.step(data)

    def evaluate(self, data):
        time.sleep(0.005)
        with torch.no_grad():
            self.model(data[0])


@pytest.fixture
def training():
    return Training()


def spans(recording):
    """Return the durations of evaluations in milliseconds."""
    changes = [*recording.evaluations, (None, False)]
    assert [begins for _, begins in recording.evaluations] == [True, False] * (
        len(recording.evaluations) // 2
    )
    return [
        (end - start) / MILLISECOND for (start, _), (end, _) in zip(changes[::2], changes[1::2], strict=False)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_time_spent_waiting_for_batches(record, training, workers):
    with record() as recording:
        training.epoch(DataLoader(Slow(), 4, num_workers=workers))
    assert len(recording.steps) == BATCHES
    assert all(step.data_ns > 0 for step in recording.steps)
    if not workers:
        assert all(step.data_ns > 5 * MILLISECOND for step in recording.steps)
    for step in recording.steps:
        assert 0 < step.ready_ns <= step.first_backward_ns


def test_without_a_data_loader_the_loading_time_is_unknown(record, training):
    with record() as recording:
        for _ in range(3):
            training.step(batch())
    assert [(step.data_ns, step.ready_ns) for step in recording.steps] == [(0, 0)] * 3


def test_iterators_are_unchanged_without_times_loading(record, training):
    iterators = torch.utils.data.dataloader._BaseDataLoaderIter
    before = iterators.__next__
    with record(times_loading=False) as recording:
        assert iterators.__next__ is before
        training.epoch()
    assert [step.data_ns for step in recording.steps] == [0] * BATCHES
    with record():
        assert iterators.__next__ is not before
    assert iterators.__next__ is before


def test_one_sink_with_times_loading_is_enough(training):
    hooks = hook_manager()
    iterators = torch.utils.data.dataloader._BaseDataLoaderIter
    before = iterators.__next__
    first, second = [].append, [].append
    hooks.attach(first)
    assert iterators.__next__ is before
    hooks.attach(second, times_loading=True)
    assert iterators.__next__ is not before
    hooks.detach(second)
    hooks.detach(first)
    assert iterators.__next__ is before


def test_micro_batches_are_loaded_for_one_step(record, training):
    """Loading between two backward passes does not count as forward."""
    with record() as recording:
        for number, data in enumerate(DataLoader(Slow(4), 4)):
            loss_of(training.model, data).backward()
            if number % 2:
                training.optimizer.step()
                training.optimizer.zero_grad()
    assert [step.backwards for step in recording.steps] == [2, 2]
    for step in recording.steps:
        assert step.data_ns > 10 * MILLISECOND
        assert 0 < step.inner_forward_ns < 5 * MILLISECOND


def test_batches_are_unchanged(record):
    """Values, order and the end of a pass."""
    data = TensorDataset(torch.arange(12.0))
    with record():
        loader = DataLoader(data, 5)
        for _ in range(2):
            assert [batch.tolist() for (batch,) in loader] == [
                [0, 1, 2, 3, 4],
                [5, 6, 7, 8, 9],
                [10, 11],
            ]
        iterator = iter(loader)
        assert len([next(iterator) for _ in range(3)]) == 3
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(iterator)


def test_an_error_of_the_data_set_is_raised_unchanged(record, training):
    class Failing(Slow):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with record() as recording, pytest.raises(ZeroDivisionError):
        training.epoch(DataLoader(Failing(), 4))
    assert recording.evaluations == []


def test_nested_loading_counts_once(record, training):
    class Nested(IterableDataset):
        def __iter__(self):
            yield from DataLoader(Slow(), None)

    with record() as recording:
        began = time.monotonic_ns()
        training.epoch(DataLoader(Nested(), 4))
        took = time.monotonic_ns() - began
    assert sum(step.data_ns for step in recording.steps) < took


def gradients_off(training):
    with torch.no_grad():
        for data in DataLoader(Slow(), 4):
            training.evaluate(data)


def gradients_off_inside(training):
    for data in DataLoader(Slow(), 4):
        training.evaluate(data)


def inference_mode(training):
    with torch.inference_mode():
        for data in DataLoader(Slow(), 4):
            training.evaluate(data)


def stopped_early(training):
    """Evaluate on a few batches only, as trainers do to check the validation loop."""
    with torch.no_grad():
        for number, data in enumerate(DataLoader(Slow(10), 4)):
            training.evaluate(data)
            if number == BATCHES - 1:
                break


def with_workers(training):
    with torch.no_grad():
        for data in DataLoader(Slow(), 4, num_workers=1):
            training.evaluate(data)


@pytest.mark.parametrize(
    "evaluate", [gradients_off, gradients_off_inside, inference_mode, stopped_early, with_workers]
)
def test_an_evaluation_between_epochs(record, training, evaluate):
    with record() as recording:
        for _ in range(2):
            training.epoch()
            evaluate(training)
        training.epoch()
    assert len(recording.steps) == 3 * BATCHES
    lengths = spans(recording)
    assert len(lengths) == 2
    assert all(length > 5 * BATCHES for length in lengths), "milliseconds"
    before = {step.end_ns for step in recording.steps}
    for (start, _), (end, _) in zip(recording.evaluations[::2], recording.evaluations[1::2], strict=True):
        assert not any(start < moment < end for moment in before)
    moments = sorted({0, *before, *(moment for moment, begins in recording.evaluations if not begins)})
    for step in recording.steps:
        since = max(moment for moment in moments if moment < step.first_backward_ns)
        assert step.data_ns <= step.first_backward_ns - since


def test_an_evaluation_in_the_middle_of_an_epoch(record, training):
    with record() as recording:
        for number, data in enumerate(DataLoader(Slow(6), 4)):
            training.step(data)
            if number == 2:
                gradients_off_inside(training)
    assert len(spans(recording)) == 1
    following, (end, _) = recording.steps[3], recording.evaluations[1]
    assert following.data_ns <= following.first_backward_ns - end, (
        "loading for the evaluation must not count for the step"
    )


def test_a_long_evaluation_is_announced_while_it_runs(record, training):
    """Gradients are disabled only inside the loop's body, but training never needed so many consecutive batches."""
    with record() as recording:
        training.epoch()
        events = len(recording.events)
        for number, data in enumerate(DataLoader(Slow(10), 4)):
            training.evaluate(data)
            if number == 5:
                assert len(recording.events) == events + 1
    assert len(spans(recording)) == 1


def test_an_evaluation_ends_when_training_continues_without_a_loader(record, training):
    with record() as recording:
        training.epoch()
        stopped_early(training)
        training.step(batch())
    assert len(spans(recording)) == 1
    assert recording.evaluations[-1][0] <= recording.steps[-1].first_backward_ns


def test_the_last_evaluation_is_announced_at_the_end(record, training):
    with record() as recording:
        training.epoch()
        gradients_off_inside(training)
    assert len(spans(recording)) == 1


def test_the_last_evaluation_may_be_open(record, training):
    with record() as recording:
        training.epoch()
        stopped_early(training)
    assert [begins for _, begins in recording.evaluations] == [True]


def several_batches_a_step(training):
    loader = DataLoader(Slow(8), 4)
    for one, _other in zip(loader, DataLoader(Slow(8), 4), strict=True):
        training.step(one)


def fetched_ahead(training):
    iterator = iter(DataLoader(Slow(8), 4))
    ahead = next(iterator)
    while ahead is not None:
        data, ahead = ahead, next(iterator, None)
        training.step(data)


def four_batches_a_backward(training):
    loader = iter(DataLoader(Slow(8), 4))
    for _ in range(2):
        data = [next(loader) for _ in range(4)]
        training.step(data[0])


def all_batches_first(training):
    for data in list(DataLoader(Slow(), 4)):
        training.step(data)


def groups_fetched_ahead(training):
    """Fetch the micro-batches of a step together, as trainers do to count tokens; the last group ends the pass."""
    loader = iter(DataLoader(Slow(7), 4))
    while group := [data for _, data in zip(range(4), loader, strict=False)]:
        for data in group:
            loss_of(training.model, data).backward()
        training.optimizer.step()
        training.optimizer.zero_grad()


@pytest.mark.parametrize(
    "loop",
    [several_batches_a_step, fetched_ahead, four_batches_a_backward, all_batches_first, groups_fetched_ahead],
)
def test_training_on_several_batches_per_step_is_no_evaluation(record, training, loop):
    with record() as recording:
        loop(training)
        loop(training)
    assert recording.evaluations == []


def test_a_pass_before_any_training_is_no_evaluation(record, training):
    """Statistics of the data, or the sanity check of a trainer, belong to the setup."""
    with record() as recording:
        gradients_off(training)
        training.epoch()
    assert recording.evaluations == []


def test_a_thread_that_only_loads_is_no_evaluation(record, training):
    queue = []
    with record() as recording:
        training.epoch()
        thread = threading.Thread(target=lambda: queue.extend(DataLoader(Slow(10), 4)))
        thread.start()
        thread.join()
        for data in queue:
            training.step(data)
    assert recording.evaluations == []
    assert [step.data_ns for step in recording.steps[BATCHES:]] == [recording.steps[BATCHES].data_ns] + [
        0
    ] * 9


def test_an_internal_error_does_not_reach_the_loop(record, training, monkeypatch):
    with record():
        training.epoch()
        hooks = hook_manager()
        monkeypatch.setattr(hooks.context, "are_gradients_enabled", lambda: 1 / 0)
        training.epoch()
        assert "ZeroDivisionError" in hooks.failure
