#include "tensor/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "tensor/torch.h"
#include "tensor/views.h"

namespace incontext::tensor {
namespace {

using base::check;
using base::fail;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

struct DtypeName {
  torch::Dtype dtype;
  const char* name;
};

/// What both libtorch 1.13 and the format know.
constexpr DtypeName kDtypes[] = {{torch::kFloat64, "F64"},   {torch::kFloat32, "F32"},     {torch::kFloat16, "F16"},
                                 {torch::kBFloat16, "BF16"}, {torch::kInt64, "I64"},       {torch::kInt32, "I32"},
                                 {torch::kInt16, "I16"},     {torch::kInt8, "I8"},         {torch::kUInt8, "U8"},
                                 {torch::kBool, "BOOL"},     {torch::kComplexFloat, "C64"}};

std::optional<torch::Dtype> torch_dtype(const std::string& name) {
  for (const DtypeName& entry : kDtypes) {
    if (name == entry.name) return entry.dtype;
  }
  return std::nullopt;
}

const char* format_name(torch::Dtype dtype) {
  for (const DtypeName& entry : kDtypes) {
    if (dtype == entry.dtype) return entry.name;
  }
  return nullptr;
}

void check_storable(const std::string& path, const std::string& name, const torch::Tensor& tensor) {
  check(name != "__metadata__", "{}: no tensor may be called __metadata__", path);
  check(tensor.defined() && tensor.layout() == torch::kStrided && format_name(tensor.scalar_type()) != nullptr,
        "{}: tensor {}: cannot store {}", path, quoted_name(name), describe(tensor));
}

/// The header's JSON, padded with spaces so that the tensors' bytes begin at a multiple of 8.
std::string make_header(const std::vector<const NamedTensors::value_type*>& entries,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t position = 0;
  for (const auto* entry : entries) {
    const torch::Tensor& tensor = entry->second;
    const uint64_t end =
        position + static_cast<uint64_t>(tensor.numel()) * static_cast<uint64_t>(tensor.element_size());
    auto& item = json[entry->first];
    item["dtype"] = format_name(tensor.scalar_type());
    item["shape"] = tensor.sizes().vec();
    item["data_offsets"] = {position, end};
    position = end;
  }
  std::string text = json.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path),
      map_(std::make_shared<const base::MappedFile>(path)),
      header_(parse_safetensors_header(map_->bytes(), path.string())) {}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) {
    const std::string near = base::nearest_name(name, header_.names);
    fail("{}: no tensor {}{}", path_.string(), quoted_name(name),
         near.empty() ? "" : "; did you mean " + quoted_name(near) + "?");
  }
  return found->second;
}

torch::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorInfo& entry = info(name);
  const std::optional<torch::Dtype> dtype = torch_dtype(entry.dtype);
  check(dtype.has_value(), "{}: tensor {}: dtype {} cannot be loaded", path_.string(), quoted_name(name), entry.dtype);
  const auto bytes = map_->bytes().subspan(entry.begin, entry.end - entry.begin);
  if (*dtype == torch::kBool) {  // a bool that is neither 0 nor 1 is undefined behaviour
    const bool valid = std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b <= std::byte{1}; });
    check(valid, "{}: tensor {}: expected bytes 0 and 1 for BOOL, got others", path_.string(), quoted_name(name));
  }
  const auto options = torch::TensorOptions().dtype(*dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % safetensors_element_size(entry.dtype) == 0;
  if (bytes.empty() || !aligned) {
    torch::Tensor copy = torch::empty(entry.shape, options);
    if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  // from_blob wants a mutable pointer for what stays a read-only map; the deleter's copy of the handle keeps it.
  void* data = const_cast<std::byte*>(bytes.data());
  return torch::from_blob(
      data, entry.shape, [map = map_](void*) {}, options);
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensors::value_type*> entries;
  for (const auto& entry : tensors) {
    check_storable(path.string(), entry.first, entry.second);
    entries.push_back(&entry);
  }
  std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
    return a->second.element_size() > b->second.element_size();  // names are in order already
  });
  std::string header;
  try {
    header = make_header(entries, metadata);
  } catch (const nlohmann::json::exception&) {
    fail("{}: names and metadata must be UTF-8", path.string());
  }
  check(header.size() <= kMaximumHeaderBytes, "{}: a header of {} bytes, allowed are {}", path.string(), header.size(),
        kMaximumHeaderBytes);

  base::AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header);
  for (const auto* entry : entries) {
    const torch::Tensor plain = entry->second.detach().resolve_conj().resolve_neg().to(torch::kCPU).contiguous();
    file.write(plain.data_ptr(), plain.nbytes());
  }
  file.commit();
}

}  // namespace incontext::tensor
