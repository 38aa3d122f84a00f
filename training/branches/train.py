"""Train one branch from its spec: resumable, and runnable alone on any machine that has the files.

What is trained is decided by the spec alone. Where it runs, when it is checkpointed and how often it was killed change
nothing: on a CPU the weights are the same bit for bit.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.branches.checkpoint import load_checkpoint, save_checkpoint
from training.branches.data_order import step_indices
from training.branches.displacement import Displacement
from training.branches.examples import branch_examples
from training.branches.finished import finished_branch
from training.branches.metrics import append_line, keep_lines
from training.branches.optimisation import clip_gradients, learning_rate, make_optimizer, step_size
from training.branches.second_moments import save_second_moments
from training.branches.spec import BranchSpec, load_spec
from training.errors import InputError
from training.intact import model_hashes, write_sealed
from training.interruption import Interrupted
from training.memory import peak_memory, reset_peak_memory
from training.model.batching import micro_batches
from training.model.load import (
    autocast,
    checkpoint_activations,
    choose_trainable,
    compile_layers,
    context_length,
    load_model,
    load_tokenizer,
    save_model,
)
from training.model.loss import answer_losses, pack_if_possible
from training.run_directory import BranchDirectory, file_hash, folder_hash, write_json

CHECKPOINT_REVISION = 2
"""Counts changes of what a checkpoint holds: one of an earlier form is not continued."""


def train_branch(
    spec_path: Path,
    out: Path,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    """Train the branch of ``spec_path`` into the branch directory ``out``; return what ``done.json`` says.

    A finished branch is returned as it is; a started one goes on from its checkpoint. ``report`` is called with the
    tokens of every step (and once with those of the steps that a checkpoint already holds); ``stopping`` is asked after
    every step.

    Raises:
        InputError: files that are not the spec's, data that does not fit, second moments wanted of an optimiser that
            has none, or a loss or gradient that is not finite.
        Interrupted: ``stopping`` said so; a checkpoint was written.
    """
    spec = load_spec(spec_path)
    if spec.second_moments != "none" and spec.settings.optimizer != "adamw":
        raise InputError(
            f"{spec_path} asks for Adam's second moments and has optimizer {spec.settings.optimizer!r}; train with "
            "'adamw', or set second_moments to 'none' there"
        )
    paths = BranchDirectory(out)
    done = finished_branch(paths, spec.hash, spec.second_moments)
    if done is not None:
        return done
    if not paths.spec.exists() or paths.spec.resolve() != spec_path.resolve():
        write_json(paths.spec, spec.model_dump())
    training = _Training(spec, spec_path.resolve().parent, paths, torch.device(device))
    training.resume(report)
    training.run(report, stopping)
    return training.finish()


class _Training:
    """The state of a running branch."""

    def __init__(self, spec: BranchSpec, spec_folder: Path, paths: BranchDirectory, device: torch.device) -> None:
        self.spec, self.paths = spec, paths
        self.start = (spec_folder / spec.start_path).resolve()
        if folder_hash(self.start) != spec.start:
            raise InputError(f"{self.start} is not the start of this branch; copy the start the spec was made from")
        reset_peak_memory()
        self.model = load_model(self.start, spec.precision, device).train()
        if spec.settings.gradient_checkpointing:
            checkpoint_activations(self.model)
        self.packed = spec.settings.packing and pack_if_possible(self.model)
        if spec.settings.compile:
            compile_layers(self.model)
        self.trainable = choose_trainable(self.model, spec.trainable)
        self.optimizer = make_optimizer(spec.settings, self.trainable.values())
        limit = context_length(self.model.config, spec.max_length)
        mixture = (spec_folder / spec.mixture_path).resolve()
        parts = branch_examples(spec, mixture, load_tokenizer(self.start), limit)
        self.examples = [example for part in parts.values() for example in part]
        self.tasks_of_examples = [task for task, part in parts.items() for _ in part]
        self.rows = [len(part) for part in parts.values()]
        self.displacement = Displacement(self.start, spec.precision, self.trainable, spec.sketch_size, spec.sketch_seed)
        self.step = self.tokens = self.clipped = 0
        self.seconds = self.reach = self.squared_reach = 0.0

    def resume(self, report: Callable[[int], None]) -> None:
        found = load_checkpoint(self.paths.checkpoint, self._checkpoint_key, self.trainable, self.optimizer)
        if found is None:
            keep_lines(self.paths.metrics, 0)
            return
        kept, position = found
        self.step, self.tokens, self.clipped = position["step"], position["tokens"], position["clipped"]
        self.reach, self.squared_reach = position["reach"], position["squared_reach"]
        self.seconds = position["seconds"]
        self.displacement.restore(kept)
        keep_lines(self.paths.metrics, self.step)
        report(self.tokens)

    def run(self, report: Callable[[int], None], stopping: Callable[[], bool]) -> None:
        saved = began = time.monotonic()
        earlier = self.seconds
        while self.step < self.spec.steps:
            tokens = self.take_step()
            self.seconds = earlier + time.monotonic() - began
            if self.step % self.spec.settings.displacement_every == 0 or self.step == self.spec.steps:
                self.displacement.measure(self.step, self.trainable)
            report(tokens)
            if self.step == self.spec.steps:
                return
            stop = stopping()
            if stop or time.monotonic() - saved > self.spec.settings.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            if stop:
                raise Interrupted("the branch was stopped after a checkpoint")

    def take_step(self) -> int:
        """One optimiser step; returns its tokens."""
        began = time.monotonic()
        settings = self.spec.settings
        indices = step_indices(self.spec, self.step, self.rows)
        chosen = [self.examples[index] for index in indices]
        answer_tokens = sum(example.answer_tokens for example in chosen)
        self.optimizer.zero_grad()
        parts = []
        for batch in micro_batches(chosen, settings.micro_batch_tokens):
            with autocast(self.spec.precision, self.model.device):
                losses, _ = answer_losses(self.model, batch, self.spec.objective)
            loss = losses.sum() / answer_tokens
            loss.backward()
            parts.append(loss.detach())
        total = torch.stack(parts).double().sum().item()
        rate = learning_rate(settings, self.step, self.spec.steps)
        norm = self._clip(settings.clip_norm, indices, total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        tokens = sum(map(len, chosen))
        self.step, self.tokens = self.step + 1, self.tokens + tokens
        size = step_size(rate, norm, settings.clip_norm)
        self.reach, self.squared_reach = self.reach + size, self.squared_reach + size**2
        clipped = settings.clip_norm is not None and norm > settings.clip_norm
        self.clipped += clipped
        append_line(
            self.paths.metrics,
            step=self.step,
            loss=total,
            learning_rate=rate,
            gradient_norm=norm,
            clipped=clipped,
            tokens=tokens,
            answer_tokens=answer_tokens,
            seconds=round(time.monotonic() - began, 4),
        )
        return tokens

    def _clip(self, limit: float | None, indices: list[int], loss: float) -> float:
        gradients = [parameter.grad for parameter in self.trainable.values() if parameter.grad is not None]
        norm = clip_gradients(gradients, limit)
        if not np.isfinite(norm) or not np.isfinite(loss):
            tasks = ", ".join(sorted({self.tasks_of_examples[index] for index in indices}))
            raise InputError(
                f"loss {loss:.4g} with gradient norm {norm:.4g} at step {self.step + 1} on examples of {tasks}; lower "
                "branch.learning_rate or check those rows"
            )
        return norm

    @property
    def _checkpoint_key(self) -> str:
        return f"{self.spec.hash} {CHECKPOINT_REVISION}"

    def save(self) -> None:
        counted = ("step", "tokens", "clipped", "reach", "squared_reach", "seconds")
        position = {name: getattr(self, name) for name in counted}
        tensors = self.displacement.tensors()
        save_checkpoint(self.paths.checkpoint, self._checkpoint_key, self.trainable, self.optimizer, tensors, position)

    def finish(self) -> dict[str, Any]:
        if not np.isfinite(self.displacement.norms[-1]):  # the step that did it is the last: no loss has shown it
            raise InputError(
                f"the weights are not finite after step {self.step}, the last, on tasks {', '.join(self.spec.tasks)}; "
                "lower branch.learning_rate or check their rows"
            )
        save_model(self.model, self.start, self.paths.model)
        self.displacement.save(self.paths.displacement)
        done: dict[str, Any] = {
            "spec": self.spec.hash,
            **model_hashes(self.paths.model),
            "tasks": list(self.spec.tasks),
            "steps": self.step,
            "examples": self.spec.examples,
            "tokens": self.tokens,
            "clip_rate": self.clipped / self.step,
            "reach": self.reach,
            "squared_reach": self.squared_reach,
            "displacement": self.displacement.norms[-1],
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": peak_memory(),
            "packed": self.packed,
            "device": str(self.model.device),
        }
        self.paths.second_moments.unlink(missing_ok=True)
        if self.spec.second_moments != "none":
            save_second_moments(self.paths.second_moments, self.spec.second_moments, self.trainable, self.optimizer)
            kept = {"form": self.spec.second_moments, "sha256": file_hash(self.paths.second_moments)}
            done["second_moments"] = kept
        write_sealed(self.paths.done, done)
        self.paths.checkpoint.unlink(missing_ok=True)
        return done
