"""Builders, loops and simulated hardware shared by the tests and the benchmark scripts."""
