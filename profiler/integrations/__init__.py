"""Callbacks for training frameworks: thin, imported only when asked for, never registering themselves.

The bare ``with EnergyProfiler():`` around a framework's training sees every step as well; a callback starts and stops
with the training, puts its numbers into the framework's own logs, and ends the training on an energy budget.
"""
