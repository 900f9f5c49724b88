#!/usr/bin/python3
"""Trains the models of `incontext bench train` in PyTorch, to have something to be compared with.

    /usr/bin/python3 bench/peer_pytorch.py --models tiny,small,standard,looped --threads 2 --seconds 20

A step is what a training step of ours is: draw prompts of linear regression, forward, backward, Adam, in float32.
The model is GPT-2's: pre-norm blocks, learned positions, tanh-GELU, mlp of 4 times the width, final layer norm, one
linear read-out at the tokens of x; the loss is the squared error averaged over points and batch (and, for the looped
model, over its last `window` loops). Prompts are x_1, y_1, x_2, ... with y in coordinate 0.

The idioms are the fast ones of PyTorch 1.13 on a processor: one fused projection for q, k and v; scale and causal mask
inside baddbmm; the fused tanh-GELU; read-out at half of the tokens; gradients set to None. --variant has others to
measure beside it: scale and mask as operations of their own, Adam over all tensors at once, and, from PyTorch 2 on,
attention by scaled_dot_product_attention.

With --weights FILE (or a folder that holds model.safetensors) and --prompts FILE (safetensors with xs [steps, batch,
points, dims] and ys [steps, batch, points]) it starts from our weights and trains on our prompts, so that the losses of
the first steps can be laid side by side: --losses N --json.

--precision bf16 is PyTorch's autocast around forward pass and loss: weights, moments and sums of gradients stay in
float32, matrix products and what autocast's lists name round to bf16.

--device cuda measures on a GPU (PyTorch 2): attention by scaled_dot_product_attention, Adam fused.

--blas-core NAME makes OpenBLAS use its kernels for that processor. Debian 12's does not know Intel's processors since
Sapphire Rapids by name and takes them for a Prescott, at a fifth of their speed; SkylakeX is right for them.

Prints {"results": [{model, threads, steps_per_second, seconds_per_step_median, losses, peak_memory_bytes, ...}]}.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

DIMS, POINTS, BATCH = 20, 41, 64
MODELS = {
    "tiny": {"width": 64, "layers": 3, "heads": 2},
    "small": {"width": 128, "layers": 6, "heads": 4},
    "standard": {"width": 256, "layers": 12, "heads": 8},
    "looped": {"width": 256, "layers": 1, "heads": 8, "loops": 20, "window": 20},
}
VARIANTS = ("matmul_mask", "foreach_adam", "fused_attention")
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
WARM_UP = 3


def read_safetensors(path):
    import numpy
    import torch
    path = pathlib.Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        array = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        out[name] = torch.from_numpy(array.astype("float32"))
    return out


def make_parameters(spec, dims, tokens, generator):
    """GPT-2's initialisation: normal 0.02, less for what writes to the residual stream; norms 1, biases 0."""
    import torch
    width = spec["width"]
    shapes = {"read_in": (width, dims), "position": (tokens, width), "read_out": (1, width), "norm": (width,)}
    for i in range(spec["layers"]):
        layer = f"layers.{i}."
        shapes.update({layer + "norm1": (width,), layer + "norm2": (width,),
                       layer + "attention.qkv": (3 * width, width), layer + "attention.out": (width, width),
                       layer + "mlp.up": (4 * width, width), layer + "mlp.down": (width, 4 * width)})
    out = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            out[name + ".weight"] = torch.ones(shape)
        else:
            writes_residual = name.endswith(("attention.out", "mlp.down"))
            scale = 0.02 / math.sqrt(2 * spec["layers"]) if writes_residual else 0.02
            out[name + ".weight"] = torch.randn(shape, generator=generator) * scale
        if name != "position":
            out[name + ".bias"] = torch.zeros(shape[0])
    return out


class Decoder:
    def __init__(self, spec, parameters, variants=()):
        import torch
        self.spec, self.p, self.variants = spec, parameters, variants
        tokens = parameters["position.weight"].shape[0]
        self.device = parameters["position.weight"].device
        self.mask = torch.full((tokens, tokens), -math.inf, device=self.device).triu(1)

    def linear(self, name, x):
        from torch.nn.functional import linear
        return linear(x, self.p[name + ".weight"], self.p[name + ".bias"])

    def norm(self, name, x):
        from torch.nn.functional import layer_norm
        return layer_norm(x, x.shape[-1:], self.p[name + ".weight"], self.p[name + ".bias"], 1e-5)

    def attention(self, layer, x):
        import torch
        batch, tokens, width = x.shape
        heads = self.spec["heads"]
        head_dim = width // heads
        qkv = self.linear(layer + "attention.qkv", x).view(batch, tokens, 3, heads, head_dim)
        if self.device.type == "cuda" or "fused_attention" in self.variants:
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.linear(layer + "attention.out", mixed.transpose(1, 2).reshape(batch, tokens, width))
        q, k, v = (part.reshape(batch * heads, tokens, head_dim) for part in qkv.permute(2, 0, 3, 1, 4).unbind(0))
        mask = self.mask[:tokens, :tokens]
        scale = 1 / math.sqrt(head_dim)
        if "matmul_mask" in self.variants:
            scores = torch.bmm(q, k.transpose(1, 2)) * scale + mask
        else:
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale)
        mixed = torch.bmm(scores.softmax(-1), v)
        mixed = mixed.view(batch, heads, tokens, head_dim).transpose(1, 2).reshape(batch, tokens, width)
        return self.linear(layer + "attention.out", mixed)

    def layers(self, h):
        from torch.nn.functional import gelu
        for i in range(self.spec["layers"]):
            layer = f"layers.{i}."
            h = h + self.attention(layer, self.norm(layer + "norm1", h))
            up = gelu(self.linear(layer + "mlp.up", self.norm(layer + "norm2", h)), approximate="tanh")
            h = h + self.linear(layer + "mlp.down", up)
        return h

    def squared_error(self, h, ys):
        return (self.linear("read_out", h[:, ::2]).squeeze(-1) - ys).square().mean()

    def loss(self, xs, ys):
        import torch
        batch, points, dims = xs.shape
        tokens = torch.zeros(batch, points, 2, dims, device=self.device)
        tokens[:, :, 0] = xs
        tokens[:, :, 1, 0] = ys
        prompt = self.linear("read_in", tokens.view(batch, 2 * points, dims)) + self.p["position.weight"][:2 * points]
        if "loops" not in self.spec:
            return self.squared_error(self.norm("norm", self.layers(prompt)), ys)
        loops, window = self.spec["loops"], self.spec["window"]
        y, total = torch.zeros_like(prompt), 0.0
        with torch.no_grad():
            for _ in range(loops - window):
                y = self.norm("norm", self.layers(y + prompt))
        for _ in range(window):
            y = self.norm("norm", self.layers(y + prompt))
            total = total + self.squared_error(y, ys)
        return total / window


def prompt_source(arguments, generator):
    """step -> (xs, ys)"""
    import torch
    if arguments.prompts:
        tensors = read_safetensors(arguments.prompts)
        xs, ys = tensors["xs"], tensors["ys"]
        if xs.dim() == 3:  # one batch for all steps
            xs, ys = xs[None], ys[None]
        return lambda step: (xs[step % len(xs)], ys[step % len(ys)])

    def draw(_):
        xs = torch.randn(BATCH, POINTS, DIMS, generator=generator)
        w = torch.randn(BATCH, DIMS, 1, generator=generator)
        return xs, torch.bmm(xs, w).squeeze(-1)
    return draw


def measure(model, arguments):
    import torch
    torch.set_num_threads(arguments.threads)
    spec, variants = MODELS[model], arguments.variant
    generator = torch.Generator().manual_seed(arguments.seed)
    prompts = prompt_source(arguments, generator)
    xs, _ = prompts(0)
    if arguments.weights:
        parameters = read_safetensors(arguments.weights)
    else:
        parameters = make_parameters(spec, xs.shape[-1], 2 * xs.shape[-2], generator)
    device = torch.device(arguments.device)
    parameters = {name: value.to(device).requires_grad_() for name, value in parameters.items()}
    decoder = Decoder(spec, parameters, variants)
    options = {"fused": True} if device.type == "cuda" else {"foreach": "foreach_adam" in variants}
    adam = torch.optim.Adam(list(parameters.values()), lr=arguments.learning_rate, **options)
    if arguments.precision == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = True

    cast = torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16")

    losses, seconds = [], []
    begin = time.perf_counter()
    while True:
        start = time.perf_counter()
        xs, ys = (tensor.to(device) for tensor in prompts(len(seconds)))
        with cast:
            loss = decoder.loss(xs, ys)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        value = loss.item()
        seconds.append(time.perf_counter() - start)
        if len(losses) < arguments.losses:
            losses.append(value)
        enough = WARM_UP + 1 if arguments.steps is None else arguments.steps
        timed_out = arguments.steps is not None or time.perf_counter() - begin >= arguments.seconds
        if len(seconds) >= max(enough, arguments.losses) and timed_out:
            break
    steady = seconds[WARM_UP:] or seconds
    median = statistics.median(steady)
    return {"model": model, "threads": arguments.threads, "device": str(device),
            "variant": variants, "torch": torch.__version__, "precision": arguments.precision,
            "parameters": sum(value.numel() for value in parameters.values()), "steps": len(seconds),
            "steps_per_second": 1 / median, "seconds_per_step_median": median,
            "seconds_per_step_fastest": min(steady), "losses": losses,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = lambda known: lambda text: [name if name in known else parser.error(
        f"expected some of {', '.join(known)}, got '{name}'") for name in text.split(",") if name]
    parser.add_argument("--models", type=names(MODELS), default=list(MODELS),
                        help="comma-separated: " + ",".join(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="time per model (default 20)")
    parser.add_argument("--steps", type=int, help="this many steps instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--weights", help="safetensors file, or a folder with model.safetensors, to start from")
    parser.add_argument("--prompts", help="safetensors file with xs and ys to train on, instead of drawn prompts")
    parser.add_argument("--losses", type=int, default=5, help="how many of the first losses to tell (default 5)")
    parser.add_argument("--variant", type=names(VARIANTS), default=[], help="other idioms: " + ",".join(VARIANTS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32",
                        help="of matrix products: f32; on a GPU tf32; bf16 by autocast (default f32)")
    parser.add_argument("--blas-core", default="", help="OPENBLAS_CORETYPE, for example SkylakeX")
    parser.add_argument("--json", action="store_true", help="JSON alone, on one line")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.blas_core:
        os.environ["OPENBLAS_CORETYPE"] = arguments.blas_core  # read when torch is imported
    if len(arguments.models) == 1:
        results = [measure(arguments.models[0], arguments)]
    else:  # a process for each, so that peak memory is each model's own
        results = []
        for model in arguments.models:
            command = [sys.executable, __file__, *sys.argv[1:], "--models", model, "--json"]
            results += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"]
    if not arguments.json:
        for r in results:
            print(f"{r['model']:9} {r['threads']} threads {r['steps_per_second']:8.3f} steps/s "
                  f"{1e3 * r['seconds_per_step_median']:9.1f} ms/step {r['peak_memory_bytes'] / 2**20:7.0f} MiB",
                  file=sys.stderr)
    print(json.dumps({"results": results}, indent=None if arguments.json else 1))


if __name__ == "__main__":
    main()
