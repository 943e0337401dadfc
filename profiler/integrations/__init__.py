"""Callbacks for training frameworks, imported only on request and never registered automatically.

``with EnergyProfiler():`` around a framework's training records every step without them. A callback starts and stops
with the training, adds its metrics to the framework's logs, and ends the training when the energy budget is used.
"""
