"""Train a small GPT-style character model on the Python standard library's own source, under the profiler.

Real data on every machine, without a download. The loop is a plain PyTorch loop: the only line that the profiler adds
is the ``with``. About two minutes on two cores; the last line printed is the run directory.
"""

import argparse
import sysconfig
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from profiler import EnergyProfiler

CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 64, 128, 4, 2, 16


def load_text(limit: int = 8_000_000) -> torch.Tensor:
    """Return the source of the standard library as one tensor of ASCII codes."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    text = bytearray()
    for path in files:
        if len(text) > limit:
            break
        text += path.read_bytes()
    codes = torch.frombuffer(text, dtype=torch.uint8).long()
    return codes[codes < 128]


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each with its residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, time, width) to the same shape."""
        batch, time, _ = x.shape
        heads = self.mix(self.norms[0](x)).view(batch, time, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, WIDTH))
        return x + self.think(self.norms[1](x))


class CharModel(nn.Module):
    """A decoder-only transformer over ASCII."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(128, WIDTH)
        self.place = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        self.blocks = nn.Sequential(
            *(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128)
        )

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Map (batch, time) codes to (batch, time, 128) scores of the next character."""
        return self.blocks(self.token(codes) + self.place)


def batch_of(text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random windows, and the same windows one character on."""
    starts = torch.randint(len(text) - CONTEXT - 1, (BATCH,))
    windows = torch.stack([text[s : s + CONTEXT + 1] for s in starts.tolist()])
    return windows[:, :-1], windows[:, 1:]


def main() -> None:
    """Train, and print the run directory."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--steps", type=int, default=4000)
    steps = options.parse_args().steps

    torch.manual_seed(0)
    text = load_text()
    model = CharModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    with EnergyProfiler(name="char-lm") as prof:
        for _ in range(steps):
            inputs, targets = batch_of(text)
            loss = functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    print(prof.run.path)


if __name__ == "__main__":
    main()
