"""Turns one downloaded GGUF file into a folder vLLM loads: safetensors, INT8 W8A8 in compressed-tensors, tokenizer.

Runs as its own process (`python -m serving.models.quantize SOURCE TARGET RECIPE`) so that torch and the full-precision
weights never live in the caller's memory. vLLM's CPU engine does not read GGUF, and its INT8 kernels want one float scale
per output channel with activations quantized per token as they come (W8A8 dynamic, the `int-quantized` layout of
compressed-tensors).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

_INT8_CONFIG: Final[Mapping[str, Any]] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": [],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            # vLLM's output head is no Linear: it is quantized only when it is named.
            "targets": ["Linear", "re:.*lm_head"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
        }
    },
}


def quantize_channels(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric INT8 per output channel: [out, in] float -> ([out, in] int8, [out, 1] float32), weight = int8 * scale."""
    wide = weight.detach().to(torch.float32)
    scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127
    return torch.round(wide / scale).clamp(-127, 127).to(torch.int8), scale


def int8_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors to save: every linear layer, the output head included, as weight + weight_scale; the rest unchanged.

    A head tied to the embedding is untied: a small model reads its head for every token, and an INT8 copy of it costs less
    than half of what reading the bfloat16 embedding does."""
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and layer in linear:
            tensors[name], tensors[f"{layer}.weight_scale"] = quantize_channels(tensor)
        else:
            tensors[name] = tensor.contiguous().clone()
    return tensors


def save(model: Any, tokenizer: Any, target: Path, recipe: str) -> None:
    """Write a transformers model and its tokenizer into the existing folder `target`."""
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config.pop("_model_name_or_path", None)
    config["architectures"] = [type(model).__name__]
    if recipe == "int8-w8a8":
        tensors = int8_tensors(model)
        config |= {"quantization_config": dict(_INT8_CONFIG), "tie_word_embeddings": False}
    else:
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        tensors = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
        if tied:
            tensors.pop("lm_head.weight", None)
        config["tie_word_embeddings"] = tied
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)  # as readable as the files beside it: the server may run as another user
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)


def convert_gguf(source: Path, target: Path, recipe: str) -> None:
    """Read the GGUF file `source` and write a model folder into `target`."""
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
    save(model, tokenizer, target, recipe)


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
