"""The run directory: the contract between recording and everything that is read after the run."""
