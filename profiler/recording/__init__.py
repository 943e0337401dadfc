"""From readings and hook events to the run directory, while somebody trains."""
