"""Monitoring during the run: live curve, metrics, status line, energy budget."""
