"""Peak memory of this process since a chosen moment."""

import resource
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def reset_peak_memory() -> None:
    """Begin a new peak where the system can (Linux); elsewhere the peak is the process's whole life."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak resident bytes, file-backed pages included; on CUDA the peak of allocated device memory is added."""
    device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if STATUS.exists():
        high_water = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return device + 1024 * int(high_water.split()[1])
    return device + 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
