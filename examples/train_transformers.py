"""Train a small GPT-2 from scratch with Hugging Face's Trainer, on an energy budget, and see the joules in its logs.

Needs transformers: ``pip install "energy-profiler[transformers]"``. It learns to continue Python: the characters of a
module of the standard library. Half a minute on two cores; ``--help`` has the options.
"""

import argparse
import inspect
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from profiler.integrations.transformers import EnergyProfilerCallback
from profiler.units import format_joules

CONTEXT = 32


def corpus() -> list[dict[str, torch.Tensor]]:
    """Return the text in pieces; a model is trained to predict each character from those before it."""
    text = inspect.getsource(argparse).encode("ascii", "replace")
    tokens = torch.tensor(list(text[: len(text) // CONTEXT * CONTEXT])).view(-1, CONTEXT)
    return [{"input_ids": row, "labels": row} for row in tokens]


def main(steps: int, budget: float) -> None:
    """Train until the steps are done or the budget is used."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=128, n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps, learning_rate=2e-3, per_device_train_batch_size=8,
            logging_steps=max(steps // 8, 1), save_strategy="no", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=corpus())
        callback = EnergyProfilerCallback(name="gpt-2", energy_budget=budget).attach(trainer)
        trainer.train()
    for entry in trainer.state.log_history:
        if "loss" in entry and "energy/total_joules" in entry:
            print(
                f"step {entry['step']:>5}  loss {entry['loss']:.3f}  {format_joules(entry['energy/total_joules'])}"
            )
    print(callback.profiler.run.path)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--budget", type=float, default=5_000.0, help="joules")
    main(**vars(options.parse_args()))
