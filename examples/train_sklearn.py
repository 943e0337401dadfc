"""Train scikit-learn's ``SGDClassifier`` on handwritten digits, batch by batch, without torch.

Needs scikit-learn: ``pip install "energy-profiler[examples]"``. A few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from profiler import EnergyProfiler
from profiler.units import format_joules

EPOCHS, BATCH = 20, 32


def main() -> None:
    """Train, and print the cost of a step."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    classes = np.unique(labels)
    order = np.random.default_rng(0)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.02, random_state=0)

    with EnergyProfiler(name="digits-sklearn") as prof:
        for _ in range(EPOCHS):
            for batch in np.array_split(order.permutation(1200), 1200 // BATCH):
                model.partial_fit(images[batch], labels[batch], classes)
                probabilities = model.predict_proba(images[batch])
                prof.step(loss=log_loss(labels[batch], probabilities, labels=classes))
            prof.log(val_error=1 - model.score(images[1200:], labels[1200:]))

    run = prof.run
    per_step = run.steps["total_joules"].mean()
    print(f"{len(run.steps)} steps, {format_joules(per_step)} each.")
    print(run.path)


if __name__ == "__main__":
    main()
