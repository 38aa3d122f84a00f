"""What every test runs under: no network, a cache of its own, one thread, strict float64 JAX, Hypothesis profiles."""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
_cache = tempfile.TemporaryDirectory(prefix="merit-cache-")
os.environ["MERIT_CACHE"] = _cache.name
os.environ |= {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait for those of another test process do not burn what these need
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "true",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    # Compiling takes longer than running what is compiled, and longest in the newer of two generators of code.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
}

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)

settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
