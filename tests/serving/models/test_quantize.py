import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from serving.models.convert import convert
from serving.models.quantize import quantize_channels
from tests.serving.models.conftest import make_entry

VOCABULARY = [*(chr(code) for code in range(33, 127)), "ab", "<|endoftext|>", "Ġ"]
WIDTH, HEADS, LAYERS, INNER = 64, 4, 2, 128


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Qwen2 of two layers with random float32 weights, a byte-level tokenizer and a chat template."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(VOCABULARY))
    writer.add_token_merges(["a b"])
    end = VOCABULARY.index("<|endoftext|>")
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(VOCABULARY), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}.weight": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{layer}.{name}.bias": (WIDTH,) for name in ("attn_q", "attn_k", "attn_v")}
        shapes |= {f"blk.{layer}.{name}.weight": (INNER, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{layer}.ffn_down.weight": (WIDTH, INNER)}
        shapes |= {f"blk.{layer}.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    tensors = {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    cache = tmp_path_factory.mktemp("cache")
    source = cache / "tiny.gguf"
    tensors = write_gguf(source)
    return convert(make_entry(content=source.read_bytes()), source, cache, Console(quiet=True)), tensors


def test_an_int8_weight_is_within_half_a_step_of_the_original() -> None:
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    quantized, scale = quantize_channels(weight)
    assert (quantized.dtype, quantized.shape, scale.shape) == (torch.int8, (8, 32), (8, 1))
    assert torch.all((quantized * scale - weight).abs() <= scale / 2 + 1e-6)


def test_a_channel_of_zeros_quantizes_to_zeros() -> None:
    quantized, scale = quantize_channels(torch.zeros(2, 4))
    assert not quantized.any()
    assert torch.all(scale > 0)


def test_every_linear_layer_of_the_converted_model_is_int8(converted: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, original = converted
    tensors = load_file(folder / "model.safetensors")
    linear = {name for name in tensors if name.endswith("_proj.weight")} | {"lm_head.weight"}
    assert len(linear) == 7 * LAYERS + 1
    assert all(tensors[name].dtype == torch.int8 for name in linear)
    assert tensors["model.embed_tokens.weight"].dtype == torch.bfloat16
    down = tensors["model.layers.1.mlp.down_proj.weight"] * tensors["model.layers.1.mlp.down_proj.weight_scale"]
    assert np.abs(down.numpy() - original["blk.1.ffn_down.weight"]).max() < 0.002


def test_the_configuration_names_the_head_and_unties_it(converted: tuple[Path, dict[str, np.ndarray]]) -> None:
    config = json.loads((converted[0] / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["tie_word_embeddings"] is False
    assert config["quantization_config"]["format"] == "int-quantized"
    assert "re:.*lm_head" in config["quantization_config"]["config_groups"]["group_0"]["targets"]


def test_the_chat_template_travels_with_the_model(converted: tuple[Path, dict[str, np.ndarray]]) -> None:
    assert "message['content']" in (converted[0] / "chat_template.jinja").read_text()
    assert (converted[0] / "tokenizer.json").is_file()
