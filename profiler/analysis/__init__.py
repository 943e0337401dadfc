"""Numbers computed from stored tables: energy of a window, of a phase, breakdown, downsampling."""
