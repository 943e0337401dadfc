from tests.support.fixtures import fake_clock, nvml_library, run_python, simulated_gpus

__all__ = ["fake_clock", "nvml_library", "run_python", "simulated_gpus"]
