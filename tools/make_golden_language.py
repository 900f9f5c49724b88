#!/usr/bin/env python3
"""Writes tests/golden/language/<name>/: tiny random models of every family we read, and what they must compute.

    python3 tools/make_golden_language.py [--check] [NAME ...]

Needs torch, transformers and safetensors (the versions used are in every golden.json). --check writes nothing and fails
when a folder does not hold what this script computes (weights and tokens exactly, numbers to 1e-4).

A folder is a Hugging Face model without a tokenizer: config.json in the spelling that the family's repositories use
(the new `rope_parameters` in one of them), generation_config.json, and model.safetensors or shards with their index.
Beside them lie

golden.safetensors, in float32, for one prompt of N tokens:
    logits [N, vocabulary]        of every position
    hidden.0 [N, C]               what enters the first layer
    hidden.i [N, C]               after layer i, for i < layers
    hidden.<layers> [N, C]        what enters the head: after the last layer and the final norm (and, of OPT with
                                  word_embed_proj_dim, after its project_out: [N, word_embed_proj_dim])
    last_layer [N, C]             after the last layer, before the final norm
    continued_logits [M, vocabulary]  the logits from which each of the M continued tokens was taken
golden.json: the prompt's ids, the ids of the greedy continuation, the smallest distance between the best and the second
    best logit on the way (so that a tie cannot decide), the seed, versions and the command.

All is computed with eager attention in float32, also where the file holds bfloat16 or float16 (weights are rounded to
the file's type first). The continuation recomputes the whole sequence for each token, without a cache. Weights are
drawn far from any initialisation of use, norms and biases too, so that leaving one out shows; the seed is the first
for which the continuation has no near tie and is not one token over and over.
"""

import argparse
import json
import pathlib
import platform
import sys
import tempfile

import numpy
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import transformers

PROMPT_TOKENS = 24
CONTINUED_TOKENS = 32
SMALLEST_MARGIN = 0.02
FEWEST_KINDS_OF_TOKENS = 10

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "silu", "initializer_range": 0.02,
         "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2,
         "tie_word_embeddings": False, "use_cache": True, "torch_dtype": "float32"}
QWEN2 = {**LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": 2,
         "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "use_sliding_window": False,
         "sliding_window": 256, "max_window_layers": 2, "attention_dropout": 0.0}
PHI3 = {**LLAMA, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_key_value_heads": 2,
        "rope_theta": 10000.0, "rope_scaling": None, "original_max_position_embeddings": 256, "sliding_window": 8,
        "attention_bias": False, "pad_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attention_dropout": 0.0}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 2.5, 6.0, 11.0]}
OPT = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 32, "ffn_dim": 64,
       "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "vocab_size": 96,
       "word_embed_proj_dim": 32, "do_layer_norm_before": True, "_remove_final_layer_norm": False,
       "activation_function": "relu", "attention_dropout": 0.0, "dropout": 0.1, "layerdrop": 0.0, "init_std": 0.02,
       "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, "prefix": "</s>", "use_cache": True,
       "torch_dtype": "float16"}
GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 32,
        "n_head": 4, "n_layer": 2, "n_positions": 64, "n_ctx": 64, "n_inner": None, "layer_norm_epsilon": 1e-5,
        "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "initializer_range": 0.02, "vocab_size": 96,
        "bos_token_id": 95, "eos_token_id": 95}

# "recomputes": its rotary factors change within the continuation, so that only whole passes are right.
# "made_as": the class that transformers reads the folder with, where it is not model_type.
# "type" is the type of the file's tensors, "shard" the largest shard in bytes, "hub_names" GPT-2's first spelling:
# names without "transformer." and the causal masks among the weights.
CASES = {
    "llama2": {"config": {**LLAMA, "pretraining_tp": 1, "rope_scaling": None}},
    "llama31": {"type": "bfloat16", "eos": [2, 5, 7], "config": {
        **LLAMA, "num_hidden_layers": 3, "num_key_value_heads": 2, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "eos_token_id": [2, 5, 7], "torch_dtype": "bfloat16",
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64, "rope_type": "llama3"}}},
    "llama_biases": {"type": "bfloat16", "config": {
        **LLAMA, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True, "head_dim": 16,
        "torch_dtype": "bfloat16",
        # The spelling that transformers 5 writes.
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}}},
    "llama_yarn": {"type": "bfloat16", "config": {
        **LLAMA, "num_key_value_heads": 2, "torch_dtype": "bfloat16", "head_dim": 16,
        "rope_scaling": {"rope_type": "yarn", "factor": 6.0, "original_max_position_embeddings": 48, "beta_fast": 4.0,
                         "beta_slow": 0.5, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": False}}},
    # Other rotary factors for every length beyond 40 and beyond 16 tokens.
    "llama_dynamic": {"type": "bfloat16", "recomputes": True, "config": {
        **LLAMA, "num_key_value_heads": 2, "torch_dtype": "bfloat16", "max_position_embeddings": 40,
        "rope_scaling": {"type": "dynamic", "factor": 4.0}}},
    "llama_dynamic_long": {"type": "bfloat16", "recomputes": True, "config": {
        **LLAMA, "num_key_value_heads": 2, "torch_dtype": "bfloat16", "max_position_embeddings": 16,
        "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 5000.0}}},
    "mistral": {"shard": 40_000, "config": {
        **LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_key_value_heads": 2,
        "rope_theta": 10000.0, "sliding_window": 8}},
    # transformers reads a Mistral with layer_types as a Ministral.
    "mistral_layer_types": {"type": "bfloat16", "made_as": "ministral", "config": {
        **LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_key_value_heads": 2,
        "head_dim": 8, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"],
        "torch_dtype": "bfloat16"}},
    "qwen2": {"type": "bfloat16", "config": {**QWEN2, "torch_dtype": "bfloat16"}},
    "qwen2_window": {"type": "bfloat16", "config": {
        **QWEN2, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        "torch_dtype": "bfloat16"}},
    "qwen2_layer_types": {"type": "bfloat16", "config": {
        **QWEN2, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "torch_dtype": "bfloat16"}},
    "qwen3": {"config": {
        **QWEN2, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 12, "attention_bias": False,
        "sliding_window": None, "rope_scaling": None, "tie_word_embeddings": False}},
    "opt": {"type": "float16", "config": OPT},
    "opt_post_norm": {"type": "float16", "config": {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 20}},
    "gpt2": {"hub_names": True, "config": GPT2},
    "gpt2_scaled": {"type": "float16", "config": {
        **GPT2, "n_inner": 80, "scale_attn_by_inverse_layer_idx": True, "torch_dtype": "float16"}},
    "gpt2_unscaled": {"type": "float16", "config": {**GPT2, "scale_attn_weights": False, "torch_dtype": "float16"}},
    "phi3": {"config": PHI3},
    "phi3_long_short": {"type": "bfloat16", "config": {
        **PHI3, "sliding_window": 200, "rope_scaling": LONGROPE, "original_max_position_embeddings": 64,
        "torch_dtype": "bfloat16"}},
    "phi3_long_long": {"type": "bfloat16", "config": {
        **PHI3, "sliding_window": 200, "rope_scaling": LONGROPE, "original_max_position_embeddings": 16,
        "torch_dtype": "bfloat16"}},
    # Short factors up to 32 tokens, long ones from there on.
    "phi3_crossing": {"type": "bfloat16", "recomputes": True, "config": {
        **PHI3, "sliding_window": 200, "rope_scaling": LONGROPE, "original_max_position_embeddings": 32,
        "torch_dtype": "bfloat16"}},
}


def draw_parameters(model, generator, dtype):
    norms = {name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()}
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        owner, _, kind = name.rpartition(".")
        if owner in norms:
            values = values * 0.3 + (1.0 if kind == "weight" else 0.0)
        elif kind == "bias":
            values = values * 0.3
        elif "position" in owner or owner.endswith("wpe"):
            values = values * 0.5
        else:
            values = values * (0.7 if "embed" in owner or owner.endswith("wte") else 0.3)
        with torch.no_grad():
            parameter.copy_(values.to(dtype).float())


def make_model(case, seed):
    values = {key: value for key, value in case["config"].items() if key != "torch_dtype"}
    values["model_type"] = case.get("made_as", values["model_type"])
    config = transformers.AutoConfig.for_model(**json.loads(json.dumps(values)))
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    model.eval()
    draw_parameters(model, torch.Generator().manual_seed(seed), getattr(torch, case.get("type", "float32")))
    model.tie_weights()
    return model


def last_layer_of(model):
    for name in ("model.layers", "model.decoder.layers", "transformer.h"):
        try:
            return model.get_submodule(name)[-1]
        except AttributeError:
            continue
    raise LookupError(type(model).__name__)


@torch.no_grad()
def compute(model, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    prompt = torch.randint(3, model.config.vocab_size - 1, (PROMPT_TOKENS,), generator=generator).tolist()
    seen = []
    layer = last_layer_of(model)
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(
        output[0] if isinstance(output, tuple) else output))
    result = model(torch.tensor([prompt]), output_hidden_states=True, use_cache=False)
    hook.remove()
    arrays = {"logits": result.logits[0], "last_layer": seen[0][0]}
    arrays.update({f"hidden.{i}": state[0] for i, state in enumerate(result.hidden_states)})

    ids, margins, continued = list(prompt), [], []
    for _ in range(CONTINUED_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = logits.topk(2).values
        margins.append((best[0] - best[1]).item())
        continued.append(logits)
        ids.append(int(logits.argmax()))
    arrays["continued_logits"] = torch.stack(continued)
    return prompt, ids[PROMPT_TOKENS:], min(margins), {n: a.float().contiguous().numpy() for n, a in arrays.items()}


def find_seed(case):
    for seed in range(1000):
        model = make_model(case, seed)
        prompt, continuation, margin, arrays = compute(model, seed)
        if margin >= SMALLEST_MARGIN and len(set(continuation)) >= FEWEST_KINDS_OF_TOKENS:
            return seed, model, prompt, continuation, margin, arrays
    raise RuntimeError("no seed gives a continuation without near ties")


def with_hub_names(path, config):
    tensors = safetensors.torch.load_file(path)
    out = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    size = config["n_positions"]
    for layer in range(config["n_layer"]):
        out[f"h.{layer}.attn.bias"] = torch.ones(size, size).tril().view(1, 1, size, size)
    safetensors.torch.save_file(out, path, {"format": "pt"})


def write_model(folder, case, model):
    if case.get("type", "float32") != "float32":
        model = model.to(getattr(torch, case["type"]))
    model.save_pretrained(folder, max_shard_size=case.get("shard", 10**9))
    if case.get("hub_names"):
        with_hub_names(folder / "model.safetensors", case["config"])
    (folder / "config.json").write_text(json.dumps(case["config"], indent=2) + "\n")
    generation = {"_from_model_config": True, "bos_token_id": case["config"]["bos_token_id"],
                  "eos_token_id": case.get("eos", case["config"]["eos_token_id"])}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def reads_back(folder, case, arrays):
    """The folder, read as users read it, computes the same: config.json says what the model is."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    golden = json.loads((folder / "golden.json").read_text())
    with torch.no_grad():
        logits = model.eval()(torch.tensor([golden["prompt"]]), use_cache=False).logits[0].numpy()
        # Eager attention with a cache, but where a model changes its rotary factors on the way.
        cached = model.generate(torch.tensor([golden["prompt"]]), max_new_tokens=CONTINUED_TOKENS, do_sample=False,
                                eos_token_id=-1, pad_token_id=0, use_cache=not case.get("recomputes", False))[0, PROMPT_TOKENS:].tolist()
    if not numpy.allclose(logits, arrays["logits"], rtol=1e-5, atol=1e-5):
        return "the folder read back computes other logits"
    return "" if cached == golden["continuation"] else "generate() continues otherwise"


def write_case(folder, name, case):
    seed, model, prompt, continuation, margin, arrays = find_seed(case)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    write_model(folder, case, model)
    safetensors.numpy.save_file(arrays, folder / "golden.safetensors")
    golden = {"prompt": prompt, "continuation": continuation, "smallest_margin": round(margin, 4), "seed": seed,
              "command": f"tools/make_golden_language.py {name}", "torch": torch.__version__.split("+")[0],
              "transformers": transformers.__version__, "safetensors": safetensors.__version__,
              "python": platform.python_version()}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    problem = reads_back(folder, case, arrays)
    if problem:
        raise RuntimeError(f"{name}: {problem}")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{name}: {size} bytes, seed {seed}, smallest margin {margin:.3f}, tokens {continuation[:8]}...")


def difference(stored, made):
    """"" when both folders hold the same, else what differs."""
    if {p.name for p in stored.iterdir()} != {p.name for p in made.iterdir()}:
        return "other files"
    for path in sorted(made.iterdir()):
        other = stored / path.name
        if path.suffix == ".json":
            keep = lambda text: {k: v for k, v in json.loads(text).items()
                                 if k not in ("torch", "transformers", "safetensors", "python")}
            if keep(path.read_text()) != keep(other.read_text()):
                return path.name
            continue
        expected, actual = safetensors.torch.load_file(path), safetensors.torch.load_file(other)
        tolerance = 1e-4 if path.stem == "golden" else 0.0
        if expected.keys() != actual.keys() or any(
                value.dtype != actual[key].dtype or not torch.allclose(value, actual[key], rtol=tolerance, atol=tolerance)
                for key, value in expected.items()):
            return path.name
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - CASES.keys()
    if unknown:
        parser.error(f"unknown names: {', '.join(sorted(unknown))}")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    directory = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "language"
    wrong = []
    for name, case in CASES.items():
        if arguments.names and name not in arguments.names:
            continue
        if not arguments.check:
            write_case(directory / name, name, case)
            continue
        with tempfile.TemporaryDirectory() as made:
            write_case(pathlib.Path(made) / name, name, case)
            problem = difference(directory / name, pathlib.Path(made) / name)
        if problem:
            wrong.append(f"{name}: {problem}")
    if wrong:
        sys.exit("these do not hold what this script computes: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
