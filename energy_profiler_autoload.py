"""Entry point of the group ``torch.backends``, which torch calls at the end of its import.

It returns at once unless a recording has set its environment variable, and never raises: an error here would end the
import of torch. It is a top-level module because a script's folder may contain another module named ``profiler``.
"""

import contextlib
import os

VARIABLE = "ENERGY_PROFILER_PARENT"


def autoload() -> None:
    """Observe a process that a profiled program has started."""
    inherited = os.environ.get(VARIABLE)
    if inherited is None:
        return
    with contextlib.suppress(Exception):  # the process is not recorded, which its parent reports
        _observe(inherited)


def _observe(inherited: str) -> None:
    import importlib.util
    import json

    found = json.loads(inherited)
    if found["pid"] == os.getpid():
        return
    package = importlib.util.find_spec("profiler")
    if package is None or package.origin != found["package"]:
        return
    from profiler.integrations.child_process import observe

    observe()
