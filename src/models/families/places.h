#pragma once

#include <array>
#include <string>

#include "models/families/family.h"

namespace incontext::models {

/// Where a family keeps one of our tensors: part of the rows, where several of ours are one of theirs.
struct Place {
  std::string name;
  int64_t first_row = 0;
  int64_t rows = -1;        // -1: to the end
  bool transposed = false;  // [in, out] in the file
};

/// `name` is that of a parameter, with ".weight" or ".bias"; queries, keys and values apart.
Place place_of(const Family& family, const DecoderOptions& options, const std::string& name);

/// One of the three parts of a packed matrix of queries, keys and values: our name, and its rows.
struct PackedPart {
  std::string name;
  int64_t rows;
};

/// Whether a parameter is such a matrix ("layers.N.attention.qkv.weight") or its bias.
bool is_packed(const std::string& name);
std::array<PackedPart, 3> parts_of_packed(const std::string& name, const DecoderOptions& options);

}  // namespace incontext::models
