#pragma once
#ifdef __clang__  // in C++20 mode it takes c10::IValue for indestructible unless its definition comes before all else
#include <ATen/core/ivalue.h>
#endif
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <torch/version.h>

// The part of libtorch that this project uses: tensors, autograd, the functions on them. <torch/torch.h> brings
// modules, optimizers and data loaders besides, whose templates cost every file that includes it some seconds.
