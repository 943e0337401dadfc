"""Hooks into PyTorch: optimizer steps, losses, learning rates, phases and device times of an unmodified loop.

A process has one :class:`~profiler.torch_hooks.manager.HookManager`, which recorders attach to as sinks.
Importing this package does not import torch.
"""
