"""Recorder: from sensor readings and hook events to the run directory, during the training."""
