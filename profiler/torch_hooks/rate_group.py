"""Choice of the parameter group whose learning rate is recorded."""

from typing import Any


def rate_group(optimizer: Any) -> int:
    """Return the index of the group with the most trained elements; of equal ones, the first.

    Schedules of groups may differ, as those of a slow backbone and a head. The largest part of a model decides its
    curve; a frozen group does not change at all.
    """
    sizes = [
        sum(_size(parameter) for parameter in group.get("params", ())) for group in optimizer.param_groups
    ]
    return max(range(len(sizes)), key=sizes.__getitem__, default=0)


def _size(parameter: Any) -> int:
    """Return the number of trained elements of a parameter; 0 if it is frozen, or has no shape yet."""
    try:
        return int(parameter.numel()) if parameter.requires_grad else 0
    except Exception:  # noqa: BLE001 - a lazy parameter raises, and other types may raise anything
        return 0
