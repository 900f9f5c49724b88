#include "models/families/places.h"

#include <algorithm>

#include "base/error.h"

namespace incontext::models {
namespace {

constexpr const char* kPacked = "attention.qkv.";

// "layers.12.mlp.up" -> {"layers.N.mlp.up", "12"}.
std::pair<std::string, std::string> split_layer(const std::string& stem) {
  if (!stem.starts_with("layers.")) return {stem, ""};
  const size_t first = std::string("layers.").size();
  const size_t dot = stem.find('.', first);
  return {"layers.N" + stem.substr(dot), stem.substr(first, dot - first)};
}

// Rows of the stems that share a tensor with others.
int64_t rows_of(const std::string& stem, const DecoderOptions& options) {
  if (stem.ends_with(".attention.q")) return options.attention.heads * options.resolved_head_dim();
  if (stem.ends_with(".attention.k") || stem.ends_with(".attention.v")) {
    return options.resolved_kv_heads() * options.resolved_head_dim();
  }
  if (stem.ends_with(".mlp.gate") || stem.ends_with(".mlp.up")) return options.resolved_mlp_width();
  base::fail("a family keeps '{}' beside other tensors, and its number of rows is not known", stem);
}

}  // namespace

Place place_of(const Family& family, const DecoderOptions& options, const std::string& name) {
  if (family.tensors.empty()) return {.name = name};
  const size_t dot = name.rfind('.');
  const auto [stem, layer] = split_layer(name.substr(0, dot));
  for (const TensorRule& rule : family.tensors) {
    const auto found = std::find(rule.ours.begin(), rule.ours.end(), stem);
    if (found == rule.ours.end()) continue;
    Place place{.name = rule.theirs + name.substr(dot), .first_row = rule.rows_before, .transposed = rule.transposed};
    if (const size_t number = place.name.find(".N."); number != std::string::npos) {
      place.name.replace(number + 1, 1, layer);
    }
    if (rule.ours.size() == 1) return place;
    for (auto before = rule.ours.begin(); before != found; ++before) place.first_row += rows_of(*before, options);
    place.rows = rows_of(stem, options);
    return place;
  }
  base::fail("the family {} has no tensor for '{}'", family.name, name);
}

bool is_packed(const std::string& name) { return name.find(kPacked) != std::string::npos; }

std::array<PackedPart, 3> parts_of_packed(const std::string& name, const DecoderOptions& options) {
  const size_t at = name.find(kPacked);
  const std::string prefix = name.substr(0, at) + "attention.";
  const std::string suffix = name.substr(at + std::string(kPacked).size() - 1);
  const int64_t queries = options.attention.heads * options.resolved_head_dim();
  const int64_t keys = options.resolved_kv_heads() * options.resolved_head_dim();
  return {PackedPart{prefix + "q" + suffix, queries}, PackedPart{prefix + "k" + suffix, keys},
          PackedPart{prefix + "v" + suffix, keys}};
}

}  // namespace incontext::models
