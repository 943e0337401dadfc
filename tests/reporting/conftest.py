"""The fixture that makes scripted reports."""

from tests.support.scripted_reports import report

__all__ = ["report"]
