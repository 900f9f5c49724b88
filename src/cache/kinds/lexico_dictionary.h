#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cache/kind.h"
#include "tensor/torch.h"

namespace incontext::cache {

/// What turns keys or values of one layer into sparse codes and back: x ≈ mean + sum_i c_i atoms[n_i], with one
/// dictionary for all KV heads and a mean for each.
struct LexicoPart {
  torch::Tensor atoms = {};  // f16 [count, head_dim]
  torch::Tensor mean = {};   // f32 [kv_heads, head_dim], or undefined: none
  /// f32 [head_dim], or undefined: codes are sought for weights * (x - mean) over the atoms times `weights`, which then
  /// have length 1: a diagonal metric, in which errors that queries look at count more. Without it atoms have length 1.
  torch::Tensor weights = {};
};

/// Dictionaries of a model, for layers [0, layers).
struct LexicoDictionary {
  std::vector<LexicoPart> keys = {}, values = {};
  std::string model = {};                            // the fingerprint of the weights it was fitted to
  std::map<std::string, std::string> settings = {};  // how it was fitted, for people

  int64_t bytes() const;
  /// Tells dictionaries with other numbers apart.
  std::string digest() const;
};

/// An artefact file (safetensors), which appears whole or not at all.
void write_lexico_dictionary(const LexicoDictionary& dictionary, const std::filesystem::path& path);
/// Reads it for a model. A file that is damaged, or that was fitted to another model, is an Error that tells what was
/// expected and what came; `model` without a fingerprint takes every file of its shape.
LexicoDictionary read_lexico_dictionary(const std::filesystem::path& path, const CachedModel& model);

}  // namespace incontext::cache
