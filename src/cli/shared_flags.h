#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "base/options.h"
#include "tensor/runtime_options.h"

namespace incontext::ops {
struct Settings;
}  // namespace incontext::ops
namespace incontext::tensor {
struct Runtime;
}  // namespace incontext::tensor

namespace incontext::cli {

/// The kinds that --cache names, for its help: the table of cache/kind.h, which stands in the program that computes.
inline constexpr const char* kCacheKinds = "full, q8_0, q4_0, kivi, lexico, streaming, snapkv, random";

/// Flags that every computing command has.
struct ComputeFlags {
  tensor::RuntimeOptions runtime;
  std::string ops = "kernels";
  std::string precision = "f32";

  void add_to(CLI::App& command);
  /// --precision, for the commands whose precision is in no configuration file. `of_what` ends its help.
  void add_precision_to(CLI::App& command, const std::string& of_what,
                        const std::vector<std::string>& choices = {"f32", "bf16"});
  void add_inference_precision_to(CLI::App& command);

  // What follows is in the program that computes (runtime.cpp).
  /// Starts the runtime; call once, before any tensor work.
  tensor::Runtime start() const;
  /// The same for a command that has no form on a GPU: another --device is an Error.
  tensor::Runtime start_on_cpu(const char* command) const;
  ops::Settings operations() const;
};

/// Reads a YAML file (or nothing, for an empty path), lays the --set assignments over it and fills the options.
template <class Options>
void read_config(const std::string& path, const std::vector<std::string>& assignments, Options& options) {
  base::ConfigNode node;
  node.kind = base::ConfigNode::Kind::mapping;
  node.where = "command line";
  if (!path.empty()) node = base::load_yaml(path);
  for (const std::string& assignment : assignments) base::apply_assignment(node, assignment);
  base::read_options(node, options);
}

}  // namespace incontext::cli
