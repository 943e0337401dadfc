"""Merging of the records of a job's processes and attempts into one run: from run directories to tables.

``discovery`` finds the records, ``clocks`` puts them on one time axis, ``deduplication`` counts each device once,
``aggregation`` adds up the ranks of an attempt, ``resume`` appends attempts, and ``merge`` does all of it.
"""
