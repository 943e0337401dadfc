"""What is known of a run while it goes on: its curve, its numbers, a line now and then, and its budget.

The sampler's thread brings rows and progress; a thread of its own, with little to do, fits and speaks.
"""
