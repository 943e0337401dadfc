"""The fixture that makes scripted reports."""

from scripted_reports import report

__all__ = ["report"]
