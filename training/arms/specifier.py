"""From arms to the specs of their branches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.arms.arm import Arm, Shares, Soup, Whole
from training.branches.spec import BranchSpec, Share
from training.config import BranchSettings, Recipe
from training.mixture import Task
from training.model.start import PlacedModel
from training.seeds import child_seed


@dataclass(frozen=True, slots=True)
class Specifier:
    """Makes branch specs for one run."""

    recipe: Recipe
    tasks: Mapping[str, Task]
    start: PlacedModel
    sketch_seed: int

    def branches(self, arm: Arm, groups: Sequence[Sequence[str]]) -> list[BranchSpec]:
        """The branches of an arm; ``groups`` are those of its rule, if it has one.

        Branch m of every soup has seed number m, so larger soups hold the smaller ones' branches, and one of
        ``soup-split-M`` differs from that of ``soup-M`` by its budget alone. Every share has an order of its own: in
        one order, branches would see the same mix of tasks at every step, and averaging could not even that out.
        """
        plan, everything = arm.branches, list(self.tasks)
        if isinstance(plan, str):
            return []
        if isinstance(plan, Whole):
            strata = groups if plan.strata else ()
            return [self.branch(everything, epochs=plan.epochs, batch=len(strata) or plan.batch, strata=strata)]
        if isinstance(plan, Soup):
            epochs = 1 / plan.count if plan.split else 1.0
            seeds = [child_seed(self.recipe.seed, "soup", number) for number in range(1, plan.count + 1)]
            return [self.branch(everything, epochs=epochs, seed=seed) for seed in seeds]
        if isinstance(plan, Shares):
            shares = [Share(index=index, of=plan.count, seed=self.recipe.seed) for index in range(plan.count)]
            return [
                self.branch(everything, share=share, seed=child_seed(self.recipe.seed, "share order", share.index))
                for share in shares
            ]
        return [self.branch(group) for group in groups]

    def branch(
        self,
        group: Sequence[str],
        *,
        epochs: float = 1.0,
        batch: int = 1,
        seed: int | None = None,
        strata: Sequence[Sequence[str]] = (),
        share: Share | None = None,
    ) -> BranchSpec:
        """A branch over the tasks of ``group`` in the mixture's order.

        A batch larger than the data is cut to it: full-batch descent then has one step per epoch. ``batch`` > 1 sees as
        many examples in fewer steps, as many as one of ``batch`` branches of equal size takes. ``strata`` and ``share``
        are those of :class:`BranchSpec`; ``seed`` is the run's unless given.
        """
        spec = self._specify(group, "train", self.recipe.branch, epochs=epochs, batch=batch, share=share)
        chosen: dict[str, Any] = {"strata": tuple(tuple(stratum) for stratum in strata)}
        return spec.model_copy(update=chosen if seed is None else chosen | {"seed": seed})

    def primer(self) -> BranchSpec:
        """The primer: all tasks' primer slices, from the base model."""
        settings = self.recipe.primer_branch()
        spec = self._specify(list(self.tasks), "primer", settings, epochs=1.0, batch=1, share=None)
        return spec.model_copy(update={"start_path": "../../base"})

    def _specify(
        self,
        group: Sequence[str],
        split: Literal["train", "primer"],
        settings: BranchSettings,
        *,
        epochs: float,
        batch: int,
        share: Share | None,
    ) -> BranchSpec:
        chosen = [task for name, task in self.tasks.items() if name in group]
        first, every = (share.index, share.of) if share else (0, 1)
        rows = sum(len(range(first, task.counts[split], every)) for task in chosen)
        start = self.recipe.start
        return BranchSpec(
            tasks={task.name: task.hashes[split] for task in chosen},
            split=split,
            start=self.start.sha256,
            trainable=start.trainable,
            objective=start.objective,
            precision=self.start.precision,
            max_length=start.max_length,
            seed=self.recipe.seed,
            examples=max(1, round(epochs * settings.epochs * rows)),
            settings=settings.model_copy(update={"batch_size": min(settings.batch_size * batch, rows)}),
            sketch_size=self.recipe.conflicts.sketch_size,
            sketch_seed=self.sketch_seed,
            share=share,
        )


def keeping_second_moments(
    arms: Sequence[Arm], specs: Mapping[str, Sequence[BranchSpec]]
) -> dict[str, list[BranchSpec]]:
    """The specs of all arms, where a branch that any arm reads Adam's second moments of keeps them for every arm."""
    read = {spec.hash for arm in arms for spec in specs[arm.name] if arm.reads_second_moments(spec.settings.optimizer)}
    return {
        name: [
            spec.model_copy(update={"second_moments": spec.settings.second_moments}) if spec.hash in read else spec
            for spec in branches
        ]
        for name, branches in specs.items()
    }
