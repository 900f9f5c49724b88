#!/usr/bin/python3
"""Writes a Hugging Face folder of a Llama with random bf16 weights, to measure speed on: nothing is downloaded.

    /usr/bin/python3 tools/make_random_model.py FOLDER [--shape llama-3.2-1b|tiny]

Needs PyTorch (Debian's python3-torch is enough). There is no tokenizer: `incontext bench decode` needs none.
"""

import argparse
import json
import pathlib
import struct

import torch

SHAPES = {
    "llama-3.2-1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                     "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 256},
}


def tensors(c):
    """Name -> shape, in the order in which they are written."""
    width, hidden = c["hidden_size"], c["intermediate_size"]
    queries, keys = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    yield "model.embed_tokens.weight", (c["vocab_size"], width)
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (width,)
        yield prefix + "mlp.down_proj.weight", (width, hidden)
        yield prefix + "mlp.gate_proj.weight", (hidden, width)
        yield prefix + "mlp.up_proj.weight", (hidden, width)
        yield prefix + "post_attention_layernorm.weight", (width,)
        yield prefix + "self_attn.k_proj.weight", (keys, width)
        yield prefix + "self_attn.o_proj.weight", (width, queries)
        yield prefix + "self_attn.q_proj.weight", (queries, width)
        yield prefix + "self_attn.v_proj.weight", (keys, width)
    yield "model.norm.weight", (width,)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    arguments = parser.parse_args()
    c = SHAPES[arguments.shape]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
              "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
              "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 8192}, **c}
    (arguments.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    header, at = {}, 0
    for name, shape in tensors(c):
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(0)
    with open(arguments.folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(c):
            values = torch.ones(shape) if len(shape) == 1 else 0.02 * torch.randn(shape, generator=generator)
            file.write(values.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    print(f"{arguments.folder}: {at / 2**20:.0f} MiB of weights")


if __name__ == "__main__":
    main()
