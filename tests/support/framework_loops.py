"""Loops of training frameworks, which return their own losses. Run as a script: frameworks change global state."""

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.support.step_recording import recorded
from tests.support.training_loops import network

STEPS = 4
MICRO = 2


def data(batches):
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(
        torch.randn(8 * batches, 4, generator=generator), torch.randn(8 * batches, 1, generator=generator)
    )


def mean_of_micro_batches(losses, count):
    """Return the truth for steps of ``count`` micro-batches whose losses are divided by ``count``."""
    groups = [losses[n : n + count] for n in range(0, len(losses), count)]
    return [(sum(group) / count, count) for group in groups]


def lightning(**options):
    def loop():
        import lightning

        losses = []

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = network()

            def training_step(self, batch, _):
                loss = torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])
                losses.append(loss.item())
                return loss

            def validation_step(self, batch, _):
                self.model(batch[0])

            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=0.01)

        count = options.get("accumulate_grad_batches", 1)
        trainer = _trainer(lightning, max_epochs=2, **options)
        trainer.fit(Module(), DataLoader(data(STEPS // 2 * count), 8), DataLoader(data(2), 8))
        return mean_of_micro_batches(losses, count)

    return loop


def _trainer(lightning, **options):
    return lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


def lightning_manual():
    """Two optimizers that take turns in one ``training_step``."""
    import lightning

    truth = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.one, self.other = network(), network()

        def training_step(self, batch, _):
            total = 0.0
            for optimizer, model in zip(self.optimizers(), (self.one, self.other), strict=True):
                loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                total += loss.item()
            truth.append((total, 2))

        def configure_optimizers(self):
            return [torch.optim.SGD(model.parameters(), lr=0.01) for model in (self.one, self.other)]

    _trainer(lightning, max_epochs=1).fit(Module(), DataLoader(data(STEPS), 8))
    return truth


def transformers_trainer(**options):
    def loop():
        import transformers

        losses = []

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = network()

            def forward(self, x, y):
                loss = torch.nn.functional.mse_loss(self.model(x), y)
                if self.training:
                    losses.append(loss.item())
                return {"loss": loss}

        count = options.get("gradient_accumulation_steps", 1)
        arguments = transformers.TrainingArguments(
            output_dir="trainer", max_steps=STEPS, per_device_train_batch_size=8, use_cpu=True, report_to=[],
            save_strategy="no", eval_strategy="steps", eval_steps=2, disable_tqdm=True, logging_steps=1000,
            label_names=["y"], **options,
        )  # fmt: skip
        trainer = transformers.Trainer(
            Model(),
            arguments,
            train_dataset=data(STEPS * count),
            eval_dataset=data(2),
            data_collator=_collate,
        )
        trainer.train()
        return mean_of_micro_batches(losses, count)

    return loop


def _collate(rows):
    return {"x": torch.stack([x for x, _ in rows]), "y": torch.stack([y for _, y in rows])}


def accelerate(count=1, precision="no"):
    def loop():
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=count, mixed_precision=precision)
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data(STEPS * count), 8))
        losses = []
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = torch.nn.functional.mse_loss(model(x), y)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
        return mean_of_micro_batches(losses, count)

    return loop


LOOPS = {
    "Lightning, automatic": lightning(),
    "Lightning, accumulating": lightning(accumulate_grad_batches=MICRO),
    "Lightning, mixed precision": lightning(precision="bf16-mixed"),
    "Lightning, manual, two optimizers": lightning_manual,
    "Trainer of transformers": transformers_trainer(),
    "Trainer of transformers, accumulating": transformers_trainer(gradient_accumulation_steps=MICRO),
    "Accelerate": accelerate(),
    "Accelerate, accumulating": accelerate(count=MICRO),
    "Accelerate, bf16": accelerate(precision="bf16"),
}


def main(target):
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found = {}
    for name, loop in LOOPS.items():
        torch.manual_seed(0)
        with recorded() as recording:
            truth = loop()
        evaluations = sum(begins for _, begins in recording.evaluations)
        loaded = [step.data_ns > 0 for step in recording.steps]
        found[name] = {
            "seen": recording.truth, "truth": truth, "evaluations": evaluations, "loaded": loaded,
            "warnings": sorted(recording.warnings),
        }  # fmt: skip
    Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
