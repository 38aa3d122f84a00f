import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

MERGE = """
import sys, threading
from pathlib import Path
from training.merge.folders import merge_folders

assert not {"torch", "transformers", "safetensors"} & sys.modules.keys()

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

baseline, peak, done = anonymous(), [0], threading.Event()

def watch():
    while not done.wait(0.001):
        peak[0] = max(peak[0], anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
root = Path(sys.argv[1])
merge_folders("linear", [root / "a", root / "b"], (0.5, 0.5), root / "out")
done.set()
watcher.join()
print(peak[0] - baseline)
"""


def test_anonymous_memory_stays_under_64_megabytes_and_torch_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        state = {"frozen": torch.zeros(5000, 10_000).bfloat16(), "moved": torch.rand(5000, 5000).bfloat16()}
        save_file(state, tmp_path / name / "model.safetensors")
    kilobytes = subprocess.run(
        [sys.executable, "-c", MERGE, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    ).stdout
    assert 1_000 < int(kilobytes) < 64_000
