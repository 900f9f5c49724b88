#!/usr/bin/env python3
"""Writes tests/golden/gradients/<name>.safetensors: what the folders of tests/golden/language must compute in training.

    python3 tools/make_golden_gradients.py [--check] [NAME ...]

Needs torch and transformers (the versions used are in the metadata of every file). --check writes nothing and fails
when a file does not hold what this script computes (to 1e-6 of each tensor's largest element).

Of every model, read by transformers from its folder with eager attention:
    tokens [2, 49] (int64)  two sequences, longer than every window and than the contexts from which rotary factors
                            change; the first 48 tokens go in, the last 48 are the targets
    loss []                 the mean cross-entropy (nats) of the 96 targets
    grad.NAME               the gradient of the loss by the tensor that the family's files call NAME
    adamw_losses [6]        the losses before and after each of 5 steps of AdamW (learning rate 1e-3, weight decay 0.1)
Gradients are whole for one model of each family. For the others, which differ from it in the attention and positions
alone, matrices are folded to keep the files small: "rows.NAME" is gradient · signs and "columns.NAME" is
gradientᵀ · signs, with `signs`, a vector of ones and minus ones as long as the longest side, cut to size.

adapter_<name>.safetensors: the same of a model whose weights are rounded to bfloat16 and frozen, with low-rank adapters
(rank 4, alpha 8: y += 2 (x·Aᵀ)·Bᵀ) on queries, values and the last matrix of the MLP:
    NAME.lora_a, NAME.lora_b            their values, with the names that our decoder gives them
    grad.NAME.lora_a, grad.NAME.lora_b  their gradients; they alone are trained in the steps of AdamW

All is computed in float64, also where transformers itself goes through float32 (RMS norms, softmax, rotary angles), and
stored in float32. (PyTorch's own gradients in float32 lie up to 2e-5 from these, relative to each tensor's largest
element: random weights make some passes ill-conditioned.)
"""

import argparse
import contextlib
import json
import pathlib
import sys

import numpy
import torch
import transformers

import safetensors_file

TOKENS = 49
STEPS = 5
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
RANK, ALPHA = 4, 8
WHOLE = {"gpt2", "llama2", "mistral", "opt", "phi3", "qwen2", "qwen3"}
# Our names of the adapted weights of a layer, and transformers' modules.
LLAMA_LIKE = {"attention.q": "model.layers.{}.self_attn.q_proj", "attention.v": "model.layers.{}.self_attn.v_proj",
              "mlp.down": "model.layers.{}.mlp.down_proj"}
OPT = {"attention.q": "model.decoder.layers.{}.self_attn.q_proj",
       "attention.v": "model.decoder.layers.{}.self_attn.v_proj", "mlp.down": "model.decoder.layers.{}.fc2"}
ADAPTED = {"qwen3": LLAMA_LIKE, "opt": OPT}

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"


@contextlib.contextmanager
def float64_throughout():
    """What the models' code casts to float32 becomes float64."""
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32, torch.float, torch.Tensor.float = torch.float64, torch.float64, torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept


def read_model(name):
    folder = ROOT / "language" / name
    config = json.loads((folder / "config.json").read_text())
    # transformers reads a Mistral with layer_types as a Ministral.
    if config["model_type"] == "mistral" and "layer_types" in config:
        config["model_type"] = "ministral"
    config = transformers.AutoConfig.for_model(**config)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager").double().eval()
    with float64_throughout():
        for module in model.modules():
            if hasattr(module, "inv_freq"):
                module.__init__(module.config)  # its frequencies, too
    return model


def tokens_of(model):
    # Special tokens stay out: OPT's padding has no gradient in transformers.
    return torch.randint(3, model.config.vocab_size - 1, (2, TOKENS), generator=torch.Generator().manual_seed(0))


def loss_of(model, tokens):
    logits = model(tokens[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def adamw_losses(model, tokens, trained):
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, tokens)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return torch.tensor(losses + [loss_of(model, tokens).item()])


def signs_for(gradients):
    longest = max(max(gradient.shape) for gradient in gradients.values())
    return torch.randint(0, 2, (longest,), generator=torch.Generator().manual_seed(0)).double() * 2 - 1


def compute(model, name):
    tokens = tokens_of(model)
    loss = loss_of(model, tokens)
    loss.backward()
    gradients = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    arrays = {"tokens": tokens, "loss": loss}
    signs = signs_for(gradients)
    if name not in WHOLE:
        arrays["signs"] = signs
    for key, gradient in gradients.items():
        if name in WHOLE or gradient.dim() < 2:
            arrays[f"grad.{key}"] = gradient
            continue
        arrays[f"rows.{key}"] = gradient @ signs[:gradient.shape[1]]
        arrays[f"columns.{key}"] = gradient.T @ signs[:gradient.shape[0]]
    arrays["adamw_losses"] = adamw_losses(model, tokens, model.parameters())
    return arrays


def add_adapter(module, a, b):
    module.register_forward_hook(lambda module, inputs, output: output + (ALPHA / RANK) * (inputs[0] @ a.T) @ b.T)


def compute_adapters(model, name):
    tokens = tokens_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
            parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    factors = {}
    for layer in range(model.config.num_hidden_layers):
        for ours, theirs in ADAPTED[name].items():
            module = model.get_submodule(theirs.format(layer))
            size_out, size_in = module.weight.shape
            a = (torch.randn(RANK, size_in, generator=generator) * 0.2).double().requires_grad_()
            b = (torch.randn(size_out, RANK, generator=generator) * 0.2).double().requires_grad_()
            add_adapter(module, a, b)
            factors.update({f"layers.{layer}.{ours}.lora_a": a, f"layers.{layer}.{ours}.lora_b": b})
    arrays = {"tokens": tokens} | {key: value.detach().clone() for key, value in factors.items()}
    loss = loss_of(model, tokens)
    loss.backward()
    arrays["loss"] = loss
    arrays.update({f"grad.{key}": value.grad.clone() for key, value in factors.items()})
    arrays["adamw_losses"] = adamw_losses(model, tokens, factors.values())
    return arrays


def as_stored(tensor):
    array = tensor.detach().numpy()
    return array if array.dtype == numpy.int64 else array.astype(numpy.float32)


def difference(path, arrays):
    """"" when the file holds these arrays, else what differs."""
    stored, _ = safetensors_file.read(path)
    if stored.keys() != arrays.keys():
        return "other tensors"
    for name, array in arrays.items():
        scale = numpy.abs(array).max()
        if stored[name].shape != array.shape or numpy.abs(stored[name] - array).max() > 1e-6 * scale + 1e-12:
            return name
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a folder of tests/golden/language, or adapter_NAME")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    known = sorted(path.parent.name for path in ROOT.glob("language/*/config.json"))
    known += [f"adapter_{name}" for name in ADAPTED]
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"unknown names: {', '.join(sorted(unknown))}")
    wrong = []
    for name in arguments.names or known:
        adapted = name.removeprefix("adapter_")
        model = read_model(adapted)
        with float64_throughout():
            made = compute(model, name) if adapted == name else compute_adapters(model, adapted)
        arrays = {key: as_stored(value) for key, value in made.items()}
        path = ROOT / "gradients" / f"{name}.safetensors"
        if arguments.check:
            problem = difference(path, arrays)
            print(f"{name}: {problem or 'as stored'}")
            wrong += [name] if problem else []
            continue
        path.parent.mkdir(exist_ok=True)
        safetensors_file.write(path, arrays, {"command": f"tools/make_golden_gradients.py {name}",
                                              "torch": torch.__version__.split("+")[0],
                                              "transformers": transformers.__version__})
        print(f"{name}: {path.stat().st_size} bytes, losses {arrays['adamw_losses']}")
    sys.exit(f"not as stored: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
