#include "tensor/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/json_limits.h"

namespace incontext::tensor {
namespace {

using base::check;
using base::fail;
using nlohmann::json;

// A valid header nests three deep; fields that we do not know may nest a little deeper.
constexpr int kMaximumDepth = 8;
constexpr uint64_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";

uint64_t read_length(std::span<const std::byte> file) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  return length;
}

/// Parses JSON; refuses duplicate keys, of which the library would keep the last without a word, and deep nesting.
json parse_json(std::string_view text, const std::string& where) {
  using Broken = base::JsonScan::Broken;
  const base::JsonScan scan = base::scan_json(text, {.deepest = kMaximumDepth, .unique_keys = true});
  if (scan.broken == Broken::depth) fail("{}: the header nests deeper than {} levels", where, kMaximumDepth);
  if (scan.broken == Broken::repeated_key) fail("{}: the header has the key {} twice", where, quoted_name(scan.key));
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    fail("{}: the header is not valid JSON in UTF-8, at its byte {}", where, error.byte);
  } catch (const json::exception&) {
    fail("{}: the header is not valid JSON in UTF-8", where);  // for example a number out of range
  }
}

const json& member(const json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  check(found != object.end(), "{}: '{}' is missing", where, key);
  return *found;
}

/// The library keeps a number as unsigned only when it is a whole number without sign below 2^64.
uint64_t whole_number(const json& value, const char* key, const std::string& where) {
  check(value.is_number_unsigned(), "{}: expected whole numbers of 0 or more in '{}', got {}", where, key,
        value.is_number() ? value.dump() : "something else");
  return value.get<uint64_t>();
}

/// Elements times bytes. Sizes of zero count as one in the overflow check, so that strides cannot overflow either.
uint64_t byte_size(const TensorInfo& info, uint64_t element_size, const std::string& where) {
  uint64_t bytes = element_size;
  bool empty = false;
  for (const int64_t size : info.shape) {
    empty = empty || size == 0;
    const auto factor = static_cast<uint64_t>(std::max<int64_t>(size, 1));
    const auto limit = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    check(bytes <= limit / factor, "{}: the product of its shape overflows", where);
    bytes *= factor;
  }
  return empty ? 0 : bytes;
}

/// One entry of the header; offsets stay relative to the tensors' bytes.
TensorInfo parse_tensor(const json& entry, const std::string& where) {
  check(entry.is_object(), "{}: expected an object with dtype, shape and data_offsets", where);
  TensorInfo info;
  const json& dtype = member(entry, "dtype", where);
  check(dtype.is_string(), "{}: expected text in 'dtype'", where);
  info.dtype = dtype.get<std::string>();
  const uint64_t element_size = safetensors_element_size(info.dtype);
  check(element_size > 0, "{}: unknown dtype {}", where, quoted_name(info.dtype));

  const json& shape = member(entry, "shape", where);
  check(shape.is_array(), "{}: expected a list in 'shape'", where);
  for (const json& size : shape) {
    const uint64_t value = whole_number(size, "shape", where);
    check(std::in_range<int64_t>(value), "{}: the product of its shape overflows", where);
    info.shape.push_back(static_cast<int64_t>(value));
  }

  const json& offsets = member(entry, "data_offsets", where);
  check(offsets.is_array() && offsets.size() == 2, "{}: expected [begin, end] in 'data_offsets'", where);
  info.begin = whole_number(offsets[0], "data_offsets", where);
  info.end = whole_number(offsets[1], "data_offsets", where);
  check(info.begin <= info.end, "{}: its bytes begin at {} but end at {}", where, info.begin, info.end);
  const uint64_t expected = byte_size(info, element_size, where);
  check(info.end - info.begin == expected, "{}: dtype and shape make {} bytes, but data_offsets span {}", where,
        expected, info.end - info.begin);
  return info;
}

std::map<std::string, std::string> parse_metadata(const json& entry, const std::string& where) {
  std::map<std::string, std::string> metadata;
  if (entry.is_null()) return metadata;
  check(entry.is_object(), "{}: expected text by name in '{}'", where, kMetadata);
  for (const auto& [key, value] : entry.items()) {
    check(value.is_string(), "{}: expected text in '{}' under {}", where, kMetadata, quoted_name(key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// Every byte behind the header must belong to exactly one tensor. Puts `names` into the order of the bytes.
void check_layout(SafetensorsHeader& header, uint64_t header_end, uint64_t file_size, const std::string& where) {
  const auto place = [&](const std::string& name) {
    const TensorInfo& info = header.tensors.find(name)->second;
    return std::make_tuple(info.begin, info.end, std::string_view(name));
  };
  std::sort(header.names.begin(), header.names.end(),
            [&](const std::string& a, const std::string& b) { return place(a) < place(b); });
  uint64_t position = 0;
  for (const std::string& name : header.names) {
    const auto [begin, end, text] = place(name);
    check(begin >= position, "{}: tensor {}: its bytes from {} overlap the tensor before, which ends at {}", where,
          quoted_name(name), begin, position);
    check(begin == position, "{}: tensor {}: a hole of {} bytes lies before it", where, quoted_name(name),
          begin - position);
    position = end;
  }
  const uint64_t available = file_size - header_end;
  check(position <= available, "{}: file is truncated: expected {} bytes, have {}; download or write it again", where,
        header_end + position, file_size);
  check(position == available, "{}: {} trailing bytes after the last tensor: expected {} bytes, have {}", where,
        available - position, header_end + position, file_size);
}

}  // namespace

std::string quoted_name(const std::string& name) {
  constexpr size_t kLongest = 100;
  const std::string text = json(name).dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...\"";
}

uint64_t safetensors_element_size(std::string_view dtype) {
  struct Entry {
    std::string_view name;
    uint64_t size;
  };
  static constexpr Entry kTypes[] = {{"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                     {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},
                                     {"I32", 4},     {"U32", 4}, {"F32", 4}, {"F64", 8},     {"I64", 8},
                                     {"U64", 8},     {"C64", 8}};
  for (const Entry& entry : kTypes) {
    if (entry.name == dtype) return entry.size;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& where) {
  check(file.size() >= kLengthBytes, "{}: file is truncated: a safetensors file has at least {} bytes, have {}", where,
        kLengthBytes + 2, file.size());
  const uint64_t length = read_length(file);
  check(length <= kMaximumHeaderBytes,
        "{}: not a safetensors file: its first 8 bytes tell a header of {} bytes, allowed are {}", where, length,
        kMaximumHeaderBytes);
  const uint64_t header_end = kLengthBytes + length;
  check(header_end <= file.size(),
        "{}: file is truncated: expected at least {} bytes for the header, have {}; download or write it again", where,
        header_end, file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  check(text.starts_with('{'), "{}: not a safetensors file: its header does not start with '{{'", where);
  // The library takes a zero byte for the end of the text.
  check(text.find('\0') == std::string_view::npos, "{}: the header is not valid JSON in UTF-8: it has a zero byte",
        where);

  SafetensorsHeader header;
  const json entries = parse_json(text, where);
  for (const auto& [name, entry] : entries.items()) {
    if (name == kMetadata) {
      header.metadata = parse_metadata(entry, where);
      continue;
    }
    header.tensors.emplace(name, parse_tensor(entry, where + ": tensor " + quoted_name(name)));
    header.names.push_back(name);
  }
  check_layout(header, header_end, file.size(), where);
  for (auto& [name, info] : header.tensors) {
    info.begin += header_end;
    info.end += header_end;
  }
  return header;
}

}  // namespace incontext::tensor
