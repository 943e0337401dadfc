"""Scripts whose behaviour under ``energy-profiler run`` must be what it is under ``python``."""

PLAIN = {
    "what it sees of itself": """
        import sys
        seen = {name: value for name, value in globals().items() if name not in ("__builtins__", "sys")}
        for name in sorted(seen):
            print(name, type(seen[name]) if name == "__loader__" else seen[name])
        print(type(__builtins__), sys.argv, sys.path[0], sys.modules["__main__"].__file__)
        """,
    "exits with a number": "import sys; print('almost'); sys.exit(3)",
    "exits with a sentence": "raise SystemExit('that is enough')",
    "exits well": "import sys; sys.exit()",
    "leaves at once": "import os; print('gone', flush=True); os._exit(7)",
    "raises": """
        def inner():
            return {}["missing"]
        def outer():
            try:
                inner()
            except KeyError as error:
                raise RuntimeError("no key") from error
        outer()
        """,
    "raises what the command line catches": "open('/no/such/file')",
    "raises what the command line catches too": """
        from profiler.errors import UsageError
        raise UsageError("mine")
        """,
    "is interrupted": "print('working', flush=True); raise KeyboardInterrupt",
    "is not Python": "x = = 1",
    "is not text": "# \\xff\\xfe",
    "prints its own tracebacks": """
        import sys, traceback
        sys.excepthook = lambda kind, error, trace: print("mine:", *traceback.format_tb(trace), kind, error)
        raise ValueError("shown by me")
        """,
    "warns": """
        import warnings
        warnings.warn("old", DeprecationWarning)
        """,
    "pickles what it defines": """
        import pickle
        class Point:
            x = 1
        print(pickle.loads(pickle.dumps(Point())).x, Point.__module__)
        """,
    "starts processes anew": """
        import multiprocessing, os, sys
        class Work:
            def __call__(self, x):
                return x * x, __name__, len(sys.argv)
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(Work(), [1, 2, 3]))
        """,
    "forks": """
        import os, sys
        child = os.fork()
        if child:
            print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:
            sys.exit(4)
        """,
    "goes on after its last line": """
        import atexit, threading, time
        atexit.register(print, "exit handler")
        def late():
            time.sleep(0.2)
            print("thread")
        threading.Thread(target=late).start()
        raise ValueError("main")
        """,
    "goes elsewhere": """
        import os, tempfile
        os.chdir(tempfile.gettempdir())
        print(os.getcwd() == os.path.realpath(tempfile.gettempdir()))
        """,
    "imports what lies beside it": "import beside; print(beside.__name__, beside.VALUE)",
    "reads its source": """
        import inspect
        def one():
            return 1
        print(inspect.getsource(one))
        """,
    "reads stdin": "print(input())",
    "holds on to nothing": """
        import sys
        class Loud:
            def __del__(self):
                print("deleted")
        loud = Loud()
        print([name for name in vars(sys.modules["__main__"]) if not name.startswith("__")])
        """,
}

WITH_TORCH = {
    "loads with workers": """
        import torch
        from torch.utils.data import DataLoader
        if __name__ == "__main__":
            data = torch.arange(8.0).reshape(8, 1)
            for batch in DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context="fork"):
                print(batch.sum().item())
        """,
    "profiles itself": """
        import torch
        from profiler import EnergyProfiler
        with EnergyProfiler(run_dir="inner") as prof:
            weight = torch.nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            for _ in range(5):
                optimizer.zero_grad()
                weight.square().sum().backward()
                optimizer.step()
        print(int(prof.run.steps["step_count"].sum()), weight.item())
        """,
}
