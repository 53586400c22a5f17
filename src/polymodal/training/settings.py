"""Settings of the trainer, with defaults from the number of rows."""

from typing import Any, NamedTuple

from polymodal.data.preprocess import Rows

HIDDEN = 0.3, 0.1  # chance that a modality of a row is hidden, where training rows lack any, and where they lack none
WHOLE = 0.99  # share of training rows that have a modality, above which none is said to lack it


class Settings(NamedTuple):
    """How to train. Each has a default that suits a few hundred to a few ten thousand rows on a laptop."""

    epochs: int
    batch_size: int
    lr: float = 1e-3
    tuned_lr: float = 5e-5  # of pretrained networks that are fine-tuned
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    warmup: float = 0.05  # share of the steps
    modality_dropout: float = HIDDEN[0]  # chance that a modality of a row is hidden in training
    patience: int = 8  # epochs without a better validation metric before training stops
    precision: str = "no"  # "no", "bf16" or "fp16": accelerate's mixed precision
    seed: int = 0

    @classmethod
    def of(cls, rows: Rows, **options: Any) -> "Settings":
        """Defaults for these training rows. Where none lacks a modality, little is hidden: to learn a product of two,
        such as an answer of picture and question, takes rows that are whole (900 steps: 0.97 right with nothing hidden,
        0.96 with a chance of 0.1, 0.88 with 0.3)."""
        if options.get("modality_dropout") is None:
            whole = all(x.present().mean() > WHOLE for x in rows.inputs.values())
            options["modality_dropout"] = HIDDEN[whole]
        return cls.for_rows(rows.encoded(), **options)

    @classmethod
    def for_rows(cls, rows: int, **options: Any) -> "Settings":
        """Defaults for a table of so many rows, or parts of rows that are encoded as one (`Rows.parts`): about 4,000
        steps, in 8 to 60 epochs; anything may be chosen."""
        size = options.get("batch_size") or (16 if rows < 300 else 32 if rows < 2_000 else 64)
        epochs = min(60, max(8, round(4_000 * size / max(rows, 1))))
        # a quarter of the epochs: small tables have few steps in each, and a hard modality starts late
        patience = max(8, epochs // 4)
        return cls(
            **{
                "epochs": epochs,
                "batch_size": size,
                "patience": patience,
                **{k: v for k, v in options.items() if v is not None},
            }
        )
