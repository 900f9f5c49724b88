#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// A safetensors file is: u64 little-endian length N of the header, N bytes of JSON, then the tensors' bytes without
// gaps. Files come from anywhere, so the header is taken for hostile until every rule of the format has been checked.

namespace incontext::tensor {

/// One tensor as the header describes it.
struct TensorInfo {
  std::string dtype;           // "F32", "BF16", ... as in the file
  std::vector<int64_t> shape;  // empty for a scalar
  uint64_t begin = 0;          // bytes from the start of the file
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<std::string> names;  // in the order of their bytes in the file
  std::map<std::string, TensorInfo, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Bytes per element of a dtype of the format, 0 for an unknown one.
uint64_t safetensors_element_size(std::string_view dtype);

/// Reads and checks the header of a whole file. Each broken rule is an Error of one line that starts with `where`
/// (the path) and names the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& where);

inline constexpr uint64_t kMaximumHeaderBytes = 100'000'000;  // the format's own limit

/// A name from a file, fit for one line of a message: in quotes, control and non-ASCII characters escaped, cut short.
std::string quoted_name(const std::string& name);

}  // namespace incontext::tensor
