"""The tasks that benchmarks train and measure on."""

from training.config import load_recipe

BESIDE_THE_DEMO = ("simple_equations", "count_bits", "letter_counting", "aiw")


def demo_tasks() -> list[str]:
    """Names of the demo's tasks."""
    return [str(task.name) for task in load_recipe("demo", []).mixture.tasks]
