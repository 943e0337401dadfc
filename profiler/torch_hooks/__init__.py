"""Seeing an unmodified PyTorch loop: every optimizer step, its loss and its learning rate.

One process-wide :mod:`~profiler.torch_hooks.manager` holds the hooks; profilers come and go as its sinks.
Importing this package does not import torch.
"""
