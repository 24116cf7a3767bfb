"""transformers' Trainer for reward models: batches of similar length, exact resuming, a clean Ctrl-C.

Sequences are tokenised exactly as the scorers read them.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from prm.training.muon import muon
from prm.training.objectives import Objective
from prm.training.rewards import pair_metrics
from prm.training.sequences import Example, PairExample, collate, collate_pairs

Item = Example | PairExample


class Buckets(torch.utils.data.Sampler[int]):
    """Shuffles examples into batches of similar length.

    The order depends on the seed and the epoch alone, so that a resumed run sees the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int):
        self.epoch = 0
        self._lengths, self._batch, self._seed = lengths, batch, seed

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self.epoch}")
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        pool = 50 * self._batch  # sorted pool by pool, so that batches differ between epochs
        batches = []
        for begin in range(0, len(order), pool):
            by_length = sorted(order[begin : begin + pool], key=lambda i: -self._lengths[i])
            batches += [by_length[i : i + self._batch] for i in range(0, len(by_length), self._batch)]
        whole = [batch for batch in batches if len(batch) == self._batch]
        rng.shuffle(whole)
        rest = [i for batch in batches if len(batch) < self._batch for i in batch]
        return iter([i for batch in whole for i in batch] + rest)


class RewardTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Trains an `Objective` on examples or pairs. interrupted: a signal stopped it; its state is saved."""

    optimizer: torch.optim.Optimizer | None

    def __init__(
        self, model: Objective, arguments: TrainingArguments, train: Sequence[Item],
        validation: Sequence[Item], *, pad: int, patience: int | None,
        with_muon: bool = False,
    ):
        first = train[0]

        def collator(items: Sequence[Any]) -> dict[str, Any]:
            return collate_pairs(items, pad) if isinstance(first, PairExample) else collate(items, pad)

        per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps
        self._buckets = Buckets([len(item) for item in train], per_step, arguments.seed)
        self._stop, self._with_muon = StopOnSignal(), with_muon
        callbacks: list[TrainerCallback] = [_Epochs(self._buckets), self._stop]
        if patience is not None and validation:
            callbacks.append(Patience(early_stopping_patience=patience))
        super().__init__(
            model=model, args=arguments, train_dataset=_Items(train),
            eval_dataset=_Items(validation) if validation else None, data_collator=collator,
            callbacks=callbacks,
            compute_metrics=pair_metrics if isinstance(first, PairExample) else None,
        )

    @property
    def interrupted(self) -> bool:
        return self._stop.requested

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self._with_muon and self.optimizer is None:
            args = self.args
            self.optimizer = muon(
                model or self.model, lr=args.learning_rate, weight_decay=args.weight_decay,
                beta2=args.adam_beta2,
            )  # fmt: skip
        return super().create_optimizer(model)  # type: ignore[no-any-return]

    def _get_train_sampler(self, train_dataset: Any = None) -> Buckets:
        return self._buckets


class _Items(torch.utils.data.Dataset[Item]):
    def __init__(self, items: Sequence[Item]):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


class Patience(EarlyStoppingCallback):  # type: ignore[misc]
    """Stops after validations without improvement; those before a resume count too."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        validations = [entry for entry in state.log_history if "eval_loss" in entry]
        best, since = float("inf"), 0
        # a validation before training is never the best so far: transformers does not take it for one
        for loss in (entry["eval_loss"] for entry in validations if entry["step"] > 0):
            best, since = (loss, 0) if loss < best else (best, since + 1)
        self.early_stopping_patience_counter = since

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A run that was killed once it had stopped early has nothing left to do."""
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


class _Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the sampler which epoch begins, also after resuming in the middle of one."""

    def __init__(self, buckets: Buckets):
        self._buckets = buckets

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._buckets.epoch = int((state.epoch or 0) + 1e-6)


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """At Ctrl-C or SIGTERM, finishes the step, saves and stops; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        signal.signal(number, self._before[number])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.requested:
            control.should_save = control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint, None if there is none.

    The trainer writes its state last; a checkpoint without it was interrupted by a kill.
    """
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
