"""One run out of what every process of a job recorded: pure functions from run directories to tables.

``records`` finds what there is, ``clocks`` puts it on one time axis, ``counting`` sees to it that no device is counted
twice, ``ranks`` adds the ranks of one attempt up, ``chain`` puts attempts behind each other, ``job`` does all of it.
"""
