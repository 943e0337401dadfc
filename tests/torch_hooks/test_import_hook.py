"""Actions at the import of a module: once, at the right time, and without side effects."""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec

import pytest

from profiler.torch_hooks.import_hook import LateModule, when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes an importable module with a unique name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "imported_late.py").write_text(text)
        importlib.invalidate_caches()
        return "imported_late"

    yield write
    sys.modules.pop("imported_late", None)


@pytest.fixture(autouse=True)
def _finders_are_restored():
    before = list(sys.meta_path)
    yield
    assert sys.meta_path == before


def test_the_action_runs_once_at_the_end_of_the_import(module):
    name = module("value = 1")
    seen = []
    when_imported(name, lambda: seen.append(sys.modules[name].value))
    assert seen == []
    found = importlib.import_module(name)
    importlib.reload(found)
    assert seen == [1]


def test_the_module_shows_no_trace_of_the_hook(module):
    name = module("")
    plain = importlib.import_module(name)
    del sys.modules[name]
    when_imported(name, lambda: None)
    watched = importlib.import_module(name)
    assert type(watched.__loader__) is type(plain.__loader__)
    assert vars(watched.__loader__) == vars(plain.__loader__)
    assert watched.__spec__ == plain.__spec__


def test_the_action_runs_at_once_for_an_imported_module():
    seen = []
    when_imported("sys", lambda: seen.append(1))
    assert seen == [1]


def test_the_hook_waits_for_the_next_import_after_a_failed_one(module):
    name = module("raise RuntimeError('not yet')")
    seen = []
    when_imported(name, lambda: seen.append(1))
    with pytest.raises(RuntimeError, match="not yet"):
        importlib.import_module(name)
    assert seen == []
    module("value = 'now'")
    importlib.import_module(name)
    assert seen == [1]


def test_a_missing_module_raises_the_usual_error():
    cancel = when_imported("no_such_module_anywhere", pytest.fail)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_anywhere'"):
        importlib.import_module("no_such_module_anywhere")
    cancel()


class Rigid:
    """A loader without settable attributes."""

    __slots__ = ()

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.value = 7


def test_a_loader_that_cannot_be_wrapped_still_loads():
    class Finder:
        def find_spec(self, name, path=None, target=None):
            return ModuleSpec(name, Rigid()) if name == "imported_rigidly" else None

    finder = Finder()
    sys.meta_path.append(finder)
    cancel = when_imported("imported_rigidly", pytest.fail)
    assert importlib.import_module("imported_rigidly").value == 7
    cancel()
    sys.meta_path.remove(finder)
    del sys.modules["imported_rigidly"]


def test_the_action_runs_once_where_specs_share_a_loader():
    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.value = 7

    class Finder:
        loader = Loader()

        def find_spec(self, name, path=None, target=None):
            return ModuleSpec(name, self.loader) if name == "imported_from_a_freezer" else None

    finder, seen = Finder(), []
    sys.meta_path.append(finder)
    when_imported("imported_from_a_freezer", lambda: seen.append(1))
    importlib.util.find_spec("imported_from_a_freezer")
    assert importlib.import_module("imported_from_a_freezer").value == 7
    assert seen == [1]
    assert not vars(finder.loader)
    sys.meta_path.remove(finder)
    del sys.modules["imported_from_a_freezer"]


def test_the_action_can_be_cancelled(module):
    name = module("")
    cancel = when_imported(name, pytest.fail)
    cancel()
    cancel()
    importlib.import_module(name)


def test_a_late_module_is_looked_up_on_use(module):
    late = LateModule(module("value = 3"))
    assert not hasattr(late, "value")
    importlib.import_module("imported_late")
    assert late.value == 3


@pytest.mark.slow
def test_hooks_wait_for_torch_and_see_the_first_step(run_python):
    done = run_python(
        """
        import sys
        from profiler.torch_hooks.manager import hook_manager
        events = []
        hooks, sink, finders = hook_manager(), events.append, list(sys.meta_path)
        hooks.attach(sink)
        assert "torch" not in sys.modules
        import torch
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        weight.sum().backward()
        optimizer.step()
        hooks.detach(sink)
        print(len(events), hooks.failure, [finder for finder in finders if finder not in sys.meta_path])
        """
    )
    assert done.stdout == "1 None []\n"


def test_hooks_leave_no_trace_without_torch(run_python):
    done = run_python(
        """
        import sys
        from profiler.torch_hooks.manager import hook_manager
        finders = list(sys.meta_path)
        hooks, sink = hook_manager(), [].append
        hooks.attach(sink)
        hooks.detach(sink)
        print("torch" in sys.modules, sys.meta_path == finders)
        """
    )
    assert done.stdout == "False True\n"


def test_manual_steps_need_no_torch(run_python):
    done = run_python(
        """
        import sys
        from profiler.torch_hooks.manager import hook_manager
        events = []
        hooks, sink = hook_manager(), events.append
        hooks.attach(sink)
        for loss in (3.0, 2, None):
            hooks.manual_step(loss)
        hooks.detach(sink)
        print(len(events), hooks.failure, hooks.scalars.warnings, "torch" in sys.modules)
        """
    )
    assert done.stdout == "3 None set() False\n"
