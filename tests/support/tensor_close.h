#pragma once

#include <string>

#include "support/close.h"
#include "tensor/torch.h"

namespace incontext::testing {

/// compare() of close.h for tensors: dtype and shape must be equal, and the elements close (integers and booleans:
/// equal). Returns "" or one line. A tensor compared with itself, or with a view that begins at the same element, is a
/// failure.
std::string compare(const torch::Tensor& actual, const torch::Tensor& expected, Tolerance tolerance);

}  // namespace incontext::testing

#define EXPECT_TENSORS_CLOSE(actual, expected, tolerance) EXPECT_CLOSE(actual, expected, tolerance)
