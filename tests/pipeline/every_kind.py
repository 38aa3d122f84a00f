"""Settings of the `smoke` recipe with which a run makes every kind of file there is."""

ARMS = (
    "start",
    "joint@0.8",
    "joint-stratified-merit-1d",
    "iid-2+ties",
    "soup-2@fitted",
    "merit-1d+ota",
    "merit-1d+drift-corrected",
    "merit-1d+fitted",
)
EVERY_KIND = (f"arms={list(ARMS)}", "mixture.validation=4")
WITH_ONE_WORKER = tuple(part for setting in (*EVERY_KIND, "resources.workers=1") for part in ("--set", setting))
"""Those as arguments of a command."""
