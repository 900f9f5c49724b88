#pragma once

// The part of libtorch that this project uses: tensors, autograd, the functions on them. <torch/torch.h> brings
// modules, optimizers and data loaders besides, whose templates cost every file that includes it some seconds.
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>
