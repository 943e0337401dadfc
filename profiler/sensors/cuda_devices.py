"""The boards that CUDA makes visible to this process, and their order, without initialising CUDA.

The rules are those of the CUDA C Programming Guide (appendix on environment variables) as implemented by
``torch.cuda``: ``CUDA_VISIBLE_DEVICES`` is a list of ordinals, of ``GPU-`` identifiers or of ``MIG-`` identifiers. An
item of another kind than the first, or one that matches no device, ends the list; a duplicate empties it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_ORDINAL = re.compile(r"[+-]?\d+")
_OLD_MIG = re.compile(r"MIG-(?P<board>GPU-[0-9a-fA-F-]+)/\d+/\d+")

_GUESS_NOTE = (
    "CUDA numbers different boards from the fastest down, which is guessed here from cores and clocks: "
    "set CUDA_DEVICE_ORDER=PCI_BUS_ID to be certain which board is which."
)
_MIG_NOTE = (
    "Boards are split into instances (MIG), and which instance CUDA will use cannot be known in advance: "
    "select one with CUDA_VISIBLE_DEVICES=MIG-... to be certain."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """GPU board as listed by the driver.

    Attributes:
        uuid: ``GPU-...``.
        bus_id: PCI address, by which boards are sorted.
        model: Name of the model.
        speed: Cores times clock, to guess CUDA's order; 0 if unknown.
        mig: True if it is split into instances (MIG).
        mig_uuids: Identifiers of the instances, ``MIG-...``.
    """

    uuid: str
    bus_id: str
    model: str
    speed: float = 0.0
    mig: bool = False
    mig_uuids: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleBoards:
    """Boards that CUDA makes visible.

    Attributes:
        boards: Each visible board with the lowest logical index that refers to it.
        notes: Uncertainties of the assignment, as sentences.
    """

    boards: tuple[tuple[int, Board], ...]
    notes: tuple[str, ...] = ()


def visible_boards(
    boards: Sequence[Board], environ: Mapping[str, str], *, cuda_uuids: Sequence[str] | None = None
) -> VisibleBoards:
    """Find the boards that this process can use through CUDA, by logical index.

    Args:
        boards: All boards of the machine, in the driver's order.
        environ: Environment variables.
        cuda_uuids: UUIDs in CUDA's own order, if CUDA is initialised; they override ``environ``.
    """
    if cuda_uuids is not None:
        return VisibleBoards(boards=_numbered(_by_cuda(boards, cuda_uuids)))
    ordered, notes = _cuda_order(boards, environ)
    selection = environ.get("CUDA_VISIBLE_DEVICES")
    if selection is None:
        return VisibleBoards(boards=_numbered(ordered), notes=notes)
    if selection.startswith(("GPU-", "MIG-")):
        return VisibleBoards(boards=_numbered(_by_identifier(ordered, selection)))
    return VisibleBoards(boards=_numbered(_by_ordinal(ordered, selection)), notes=notes)


def _numbered(boards: Sequence[Board | None]) -> tuple[tuple[int, Board], ...]:
    """Pair each board with its lowest logical index; instances of one board share its sensor."""
    first: dict[str, tuple[int, Board]] = {}
    for index, board in enumerate(boards):
        if board is not None:
            first.setdefault(board.uuid, (index, board))
    return tuple(first.values())


def _by_cuda(boards: Sequence[Board], cuda_uuids: Sequence[str]) -> list[Board | None]:
    """Return the board of each logical device, None for one that the driver does not list."""
    return [next((b for b in boards if _has_uuid(b, uuid)), None) for uuid in cuda_uuids]


def _has_uuid(board: Board, uuid: str) -> bool:
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    return board.uuid.removeprefix("GPU-") == bare or f"MIG-{bare}" in board.mig_uuids


def _cuda_order(boards: Sequence[Board], environ: Mapping[str, str]) -> tuple[list[Board], tuple[str, ...]]:
    """Sort boards as CUDA numbers them; return a note if the order is a guess."""
    by_bus = sorted(boards, key=lambda board: board.bus_id.lower())
    if any(board.mig for board in boards):
        return by_bus, (_MIG_NOTE,)
    if environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({board.model for board in boards}) <= 1:
        return by_bus, ()
    return sorted(by_bus, key=lambda board: -board.speed), (_GUESS_NOTE,)


def _by_ordinal(ordered: Sequence[Board], selection: str) -> list[Board]:
    chosen: list[int] = []
    for item in selection.split(","):
        ordinal = _leading_number(item.strip())
        if ordinal in chosen:
            return []
        if ordinal < 0:
            break
        chosen.append(ordinal)
    valid = next((i for i, ordinal in enumerate(chosen) if ordinal >= len(ordered)), len(chosen))
    return [ordered[ordinal] for ordinal in chosen[:valid]]


def _leading_number(item: str) -> int:
    """Parse a number as C's ``strtol`` does, ignoring text after it; -1 if there is none."""
    match = _ORDINAL.match(item)
    return int(match.group()) if match else -1


def _by_identifier(ordered: Sequence[Board], selection: str) -> list[Board]:
    kind = selection[:4]
    items = selection.split(",")
    valid = next((i for i, item in enumerate(items) if not item.startswith(kind)), len(items))
    if len(set(items[:valid])) < valid:
        return []
    return (
        _boards_of_gpus(ordered, items[:valid])
        if kind == "GPU-"
        else _boards_of_instances(ordered, items[:valid])
    )


def _boards_of_gpus(ordered: Sequence[Board], items: Sequence[str]) -> list[Board]:
    chosen: list[Board] = []
    for item in items:
        matches = [board for board in ordered if board.uuid.startswith(item)]
        if len(matches) != 1:
            break
        if matches[0] in chosen:
            return []
        chosen.append(matches[0])
    return chosen


def _boards_of_instances(ordered: Sequence[Board], items: Sequence[str]) -> list[Board]:
    chosen: list[Board] = []
    for item in items:
        old = _OLD_MIG.fullmatch(item)
        matches = [
            b for b in ordered if (old and b.uuid == old["board"]) or _any_starts_with(b.mig_uuids, item)
        ]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen


def _any_starts_with(identifiers: Sequence[str], prefix: str) -> bool:
    return any(identifier.startswith(prefix) for identifier in identifiers)
