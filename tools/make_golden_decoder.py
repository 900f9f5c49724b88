#!/usr/bin/python3
"""Writes tests/golden/decoder_*.safetensors: what a tiny decoder must compute, by PyTorch's autograd in double.

    /usr/bin/python3 tools/make_golden_decoder.py [--check] [CASE ...]

--check writes nothing and fails when a file does not hold what this script computes (to 1e-6).

Every file holds, in float32, with N = 2 * points tokens, C = width, B = batch:
    parameters under their own names, and the gradient of the loss by each as "grad." + name
    xs [B, points, dims], ys [B, points]
    hidden.0 [B, N, C]      read-in plus learned positions (what enters the first layer; P of a looped model)
    hidden.i [B, N, C]      after layer i, before the final norm; of a looped model Y_i, after loop i and its norm
    predictions [B, points] of the last layer or loop; loop_predictions [window, B, points] of the last loops
    loss []                 mean over batch and points (and over the last `loss_window` loops) of (y - prediction)^2
    adam_losses [11]        the loss before the first and after each of ten Adam steps (lr 1e-3, betas 0.9 and 0.999,
                            epsilon 1e-8) on this same batch
and the metadata config (JSON), command, torch, numpy, python.

The decoder reads x_1, y_1, x_2, y_2, ... (y in coordinate 0 of a vector of zeros) and predicts y_i at the token of x_i.
Layers are pre-norm: h += attention(norm1(h)); h += mlp(norm2(h)). Rows of qkv.weight are the heads of q, then of k,
then of v. A looped model has P = read_in(tokens) + position and repeats Y <- norm(layers(Y + P)) from Y = 0 (injection add),
norm(layers(Y * P)) from Y = 1 (multiply), or norm(layers(Y)) from Y = P (none); loops before the last `loss_window` run
without gradient. Linear maps of layers have biases where `biases` is true; read_in and read_out always have.

Where the loss does not depend on a parameter at all (with layer norm and learned positions: the part of qkv.bias that
belongs to keys, because softmax ignores what all scores share) the gradient is rounding noise around 0; Adam turns that
noise into steps, which change no loss.
"""

import argparse
import json
import math
import pathlib
import platform
import sys

import numpy
import torch
import torch.nn.functional as F

import safetensors_file

BASE = {"dims": 3, "points": 5, "batch": 2, "width": 16, "layers": 2, "heads": 2, "kv_heads": 2, "mlp_width": 64,
        "norm": "layer_norm", "norm_epsilon": 1e-5, "position": "learned", "rotary_theta": 10000.0,
        "activation": "gelu_tanh", "biases": True, "looped": False, "loops": 1, "loss_window": 1, "injection": "add"}
LOOPED = {"layers": 1, "looped": True, "loops": 4, "loss_window": 2}
CASES = {
    "gpt2": {},
    "rms_rotary_relu": {"norm": "rms_norm", "position": "rotary", "activation": "relu"},
    "gated": {"norm": "rms_norm", "position": "rotary", "activation": "swiglu", "heads": 4, "kv_heads": 2,
              "mlp_width": 40, "biases": False},
    "looped_add": LOOPED,
    "looped_multiply": {**LOOPED, "injection": "multiply"},
    # Without injection the prompt enters at loop 1 alone: unless all loops count, read_in would have no gradient.
    "looped_none": {**LOOPED, "injection": "none", "loss_window": 4},
}


def parameter_shapes(c):
    width, head_dim = c["width"], c["width"] // c["heads"]
    shapes = {}

    def linear(name, rows, columns, bias):
        shapes[name + ".weight"] = (rows, columns)
        if bias:
            shapes[name + ".bias"] = (rows,)

    def norm(name):
        shapes[name + ".weight"] = (width,)
        if c["norm"] == "layer_norm":
            shapes[name + ".bias"] = (width,)

    linear("read_in", width, c["dims"], True)
    if c["position"] == "learned":
        shapes["position.weight"] = (2 * c["points"], width)
    for i in range(c["layers"]):
        layer = f"layers.{i}."
        norm(layer + "norm1")
        linear(layer + "attention.qkv", (c["heads"] + 2 * c["kv_heads"]) * head_dim, width, c["biases"])
        linear(layer + "attention.out", width, width, c["biases"])
        norm(layer + "norm2")
        if c["activation"] == "swiglu":
            linear(layer + "mlp.gate", c["mlp_width"], width, c["biases"])
        linear(layer + "mlp.up", c["mlp_width"], width, c["biases"])
        linear(layer + "mlp.down", width, c["mlp_width"], c["biases"])
    norm("norm")
    linear("read_out", 1, width, True)
    return shapes


def draw_parameters(c, generator):
    """Far from any initialisation of use: biases and norms that differ from 0 and 1, so that leaving one out shows."""
    out = {}
    for name, shape in parameter_shapes(c).items():
        values = torch.randn(shape, generator=generator)
        if name.split(".")[-2].startswith("norm"):
            values = values * 0.2 + (1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias") or name == "position.weight":
            values = values * 0.3
        else:
            values = values / math.sqrt(shape[1])
        out[name] = values.float()
    return out


class Decoder:
    def __init__(self, config, parameters):
        self.c, self.p = config, parameters

    def linear(self, name, x):
        return F.linear(x, self.p[name + ".weight"], self.p.get(name + ".bias"))

    def norm(self, name, x):
        weight, epsilon = self.p[name + ".weight"], self.c["norm_epsilon"]
        if self.c["norm"] == "layer_norm":
            return F.layer_norm(x, x.shape[-1:], weight, self.p[name + ".bias"], epsilon)
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight

    def rotate(self, x):
        """Rotary positions on [B, heads, N, head_dim]: coordinate i turns with i + head_dim / 2."""
        half = x.shape[-1] // 2
        rates = self.c["rotary_theta"] ** (-torch.arange(half, dtype=x.dtype) / half)
        angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * rates
        first, second = x[..., :half], x[..., half:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    def attention(self, layer, x):
        batch, tokens, width = x.shape
        heads, kv_heads = self.c["heads"], self.c["kv_heads"]
        head_dim = width // heads
        qkv = self.linear(layer + "attention.qkv", x)
        q, k, v = qkv.split([heads * head_dim, kv_heads * head_dim, kv_heads * head_dim], -1)
        q, k, v = (part.view(batch, tokens, -1, head_dim).transpose(1, 2) for part in (q, k, v))
        if self.c["position"] == "rotary":
            q, k = self.rotate(q), self.rotate(k)
        k, v = (part.repeat_interleave(heads // kv_heads, 1) for part in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(head_dim)
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return self.linear(layer + "attention.out", mixed.transpose(1, 2).reshape(batch, tokens, width))

    def mlp(self, layer, x):
        up = self.linear(layer + "mlp.up", x)
        activation = self.c["activation"]
        if activation == "swiglu":
            inner = F.silu(self.linear(layer + "mlp.gate", x)) * up
        else:
            inner = F.relu(up) if activation == "relu" else F.gelu(up, approximate="tanh")
        return self.linear(layer + "mlp.down", inner)

    def layers(self, h, states=None):
        for i in range(self.c["layers"]):
            layer = f"layers.{i}."
            h = h + self.attention(layer, self.norm(layer + "norm1", h))
            h = h + self.mlp(layer, self.norm(layer + "norm2", h))
            if states is not None:
                states.append(h)
        return h

    def read_out(self, h):
        return self.linear("read_out", h)[:, ::2, 0]

    def forward(self, xs, ys):
        """(hidden states, predictions of the loops that count for the loss)."""
        tokens = torch.zeros(xs.shape[0], 2 * xs.shape[1], xs.shape[2], dtype=xs.dtype)
        tokens[:, 0::2] = xs
        tokens[:, 1::2, 0] = ys
        prompt = self.linear("read_in", tokens)
        if self.c["position"] == "learned":
            prompt = prompt + self.p["position.weight"]
        states = [prompt]
        if not self.c["looped"]:
            return states, [self.read_out(self.norm("norm", self.layers(prompt, states)))]
        injection = self.c["injection"]
        y = {"add": torch.zeros_like, "multiply": torch.ones_like, "none": lambda p: p}[injection](prompt)
        predictions = []
        for loop in range(self.c["loops"]):
            counts = loop >= self.c["loops"] - self.c["loss_window"]
            with torch.set_grad_enabled(counts and torch.is_grad_enabled()):
                inputs = {"add": lambda: y + prompt, "multiply": lambda: y * prompt, "none": lambda: y}[injection]()
                y = self.norm("norm", self.layers(inputs))
            states.append(y)
            if counts:
                predictions.append(self.read_out(y))
        return states, predictions

    def loss(self, xs, ys):
        states, predictions = self.forward(xs, ys)
        return sum((ys - p).pow(2).mean() for p in predictions) / len(predictions), states, predictions


def compute(config, seed):
    generator = torch.Generator().manual_seed(seed)
    start = draw_parameters(config, generator)
    xs = torch.randn(config["batch"], config["points"], config["dims"], generator=generator)
    ys = torch.randn(config["batch"], config["points"], generator=generator)
    parameters = {name: value.double().requires_grad_() for name, value in start.items()}
    decoder = Decoder(config, parameters)
    loss, states, predictions = decoder.loss(xs.double(), ys.double())
    loss.backward()

    out = {**start, "xs": xs, "ys": ys, "predictions": predictions[-1], "loss": loss}
    if config["looped"]:
        out["loop_predictions"] = torch.stack(predictions)
    out.update({f"hidden.{i}": state for i, state in enumerate(states)})
    out.update({"grad." + name: value.grad.clone() for name, value in parameters.items()})

    adam = torch.optim.Adam(list(parameters.values()), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    losses = [loss.item()]
    for _ in range(10):
        adam.step()
        adam.zero_grad()
        loss = decoder.loss(xs.double(), ys.double())[0]
        losses.append(loss.item())
        loss.backward()
    out["adam_losses"] = torch.tensor(losses)
    return {name: value.detach().float().numpy() for name, value in out.items()}


def same(path, arrays):
    stored, _ = safetensors_file.read(path)
    return stored.keys() == arrays.keys() and all(
        stored[name].shape == array.shape and numpy.allclose(stored[name], array, rtol=1e-6, atol=1e-6)
        for name, array in arrays.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    directory = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
    directory.mkdir(exist_ok=True)
    wrong = []
    for seed, (case, changes) in enumerate(CASES.items()):
        if arguments.cases and case not in arguments.cases:
            continue
        config = {**BASE, **changes}
        arrays = compute(config, seed)
        path = directory / f"decoder_{case}.safetensors"
        if arguments.check:
            if not same(path, arrays):
                wrong.append(path.name)
            continue
        safetensors_file.write(path, arrays, {
            "config": json.dumps(config), "command": f"tools/make_golden_decoder.py {case}",
            "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()})
        print(f"{path.name}: {path.stat().st_size} bytes, loss {arrays['loss']:.6f} -> {arrays['adam_losses'][-1]:.6f}")
    if wrong:
        sys.exit("these files do not hold what this script computes: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
