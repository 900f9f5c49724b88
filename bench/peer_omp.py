#!/usr/bin/env python3
"""Orthogonal matching pursuit over a dictionary as batched PyTorch, to have something to be compared with.

    python3 bench/peer_omp.py --atoms 4096 --dim 128 --sparsity 8 --threads 2 --seconds 3

The inverse Cholesky form with a precomputed Gram matrix, as Lexico's paper describes it (its "v0"): all vectors of a
batch take one atom per step, the correlations are updated by rows of the Gram matrix made orthogonal to those before,
and the coefficients come from the triangular inverse at the end. Our own writing of that algorithm. With --vectors and
--dictionary (raw fp32) it codes those and prints the mean relative residual, so that both do the same work.

Prints {"vectors_per_second", "batch", "residual"}: the best of several batch sizes, each the median of its repeats.
"""

import argparse
import json
import statistics
import time

import torch


def omp(vectors, dictionary, gram, sparsity):
    """vectors [B, m], dictionary [N, m] of unit rows, gram [N, N] -> atoms [B, s], coefficients [B, s]."""
    batch, atoms = vectors.shape[0], dictionary.shape[0]
    rows = torch.arange(batch)
    products = vectors @ dictionary.T
    chosen = torch.zeros(batch, sparsity, dtype=torch.long)
    along = torch.zeros(batch, sparsity)
    directions = torch.zeros(batch, sparsity, atoms)
    inverse = torch.zeros(batch, sparsity, sparsity)
    for i in range(sparsity):
        best = products.abs().argmax(dim=1)
        chosen[:, i] = best
        direction = gram[best]
        earlier = directions[rows, :i, best]  # [B, i]
        height = torch.rsqrt((1 - (earlier * earlier).sum(dim=1)).clamp_min(1e-8))
        if i:
            direction = direction - torch.bmm(earlier.unsqueeze(1), directions[:, :i]).squeeze(1)
            inverse[:, i, :i] = -height[:, None] * torch.bmm(earlier.unsqueeze(1), inverse[:, :i, :i]).squeeze(1)
        direction = direction * height[:, None]
        inverse[:, i, i] = height
        directions[:, i] = direction
        value = products[rows, best] * height
        along[:, i] = value
        products = products - value[:, None] * direction
    coefficients = torch.bmm(along.unsqueeze(1), inverse).squeeze(1)
    return chosen, coefficients


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--sparsity", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--batches", default="64,256,1024")
    parser.add_argument("--vectors")
    parser.add_argument("--dictionary")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    def read(path, rows):
        if path:
            return torch.frombuffer(bytearray(open(path, "rb").read()), dtype=torch.float32).view(-1, args.dim)
        return torch.nn.functional.normalize(torch.randn(rows, args.dim), dim=1)

    dictionary, vectors = read(args.dictionary, args.atoms), read(args.vectors, 1024)
    gram = dictionary @ dictionary.T
    best = {}
    with torch.inference_mode():
        for batch in (int(b) for b in args.batches.split(",")):
            part = vectors[:batch]
            chosen, coefficients = omp(part, dictionary, gram, args.sparsity)
            made = (coefficients.unsqueeze(-1) * dictionary[chosen]).sum(dim=1)
            residual = ((part - made).norm(dim=1) / part.norm(dim=1)).mean().item()
            times, start = [], time.perf_counter()
            while len(times) < 3 or time.perf_counter() - start < args.seconds:
                began = time.perf_counter()
                omp(part, dictionary, gram, args.sparsity)
                times.append(time.perf_counter() - began)
            rate = part.shape[0] / statistics.median(times)
            if rate > best.get("vectors_per_second", 0):
                best = {"vectors_per_second": rate, "batch": batch, "residual": residual}
    print(json.dumps(best))


if __name__ == "__main__":
    main()
