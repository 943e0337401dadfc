from tests.support.fixtures import fake_clock, nvml_library, simulated_gpus

__all__ = ["fake_clock", "nvml_library", "simulated_gpus"]
