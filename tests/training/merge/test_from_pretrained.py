from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.merge.folders import merge_folders


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("max_shard_bytes", [20_000, 10**9])
def test_transformers_loads_the_merge_as_the_average_of_the_branches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tied: bool, max_shard_bytes: int
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=tied,
    )
    branches = []
    for k in range(3):
        torch.manual_seed(k)
        branches.append(LlamaForCausalLM(config).to(dtype))
        branches[k].save_pretrained(tmp_path / str(k))
    weights = (0.5, 0.3, 0.2)
    merge_folders(
        "linear", [tmp_path / str(k) for k in range(3)], weights, tmp_path / "out", max_shard_bytes=max_shard_bytes
    )

    merged = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype=dtype)
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied
    ours = [dict(branch.named_parameters()) for branch in branches]
    for name, parameter in merged.named_parameters():
        average = sum(weight * own[name].double() for weight, own in zip(weights, ours, strict=True))
        torch.testing.assert_close(parameter, average.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-8)
    ids = torch.arange(10)[None]
    assert torch.isfinite(merged(ids).logits).all()
