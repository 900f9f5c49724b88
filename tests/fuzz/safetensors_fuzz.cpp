// Input: a safetensors file.
#include "fuzz/input.h"
#include "tensor/safetensors_header.h"

using namespace incontext;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const tensor::SafetensorsHeader header = tensor::parse_safetensors_header(file, "file");
    INCONTEXT_ASSERT(header.names.size() == header.tensors.size());
    uint64_t end = 0;
    for (const std::string& name : header.names) {
      const tensor::TensorInfo& info = header.tensors.at(name);
      INCONTEXT_ASSERT(info.begin <= info.end && info.end <= size);
      INCONTEXT_ASSERT(end == 0 || info.begin == end);
      end = info.end;
      uint64_t bytes = tensor::safetensors_element_size(info.dtype);
      for (const int64_t length : info.shape) bytes *= static_cast<uint64_t>(length);
      INCONTEXT_ASSERT(bytes == info.end - info.begin);
    }
    INCONTEXT_ASSERT(header.names.empty() || end == size);
  } catch (const base::Error& error) {
    testing::check_message(error);
  }
  return 0;
}
