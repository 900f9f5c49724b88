#include "tensor/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/config_node.h"
#include "base/error.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/torch.h"
#include "tensor/views.h"

namespace incontext::tensor {
namespace {

using testing::exact;
using testing::TemporaryDirectory;

/// A file as the format's description has it, without our writer: length, header, bytes.
void write_raw(const std::filesystem::path& path, const std::string& header, const std::string& bytes) {
  std::string file;
  for (unsigned shift = 0; shift < 64; shift += 8) file += static_cast<char>(uint64_t{header.size()} >> shift & 0xff);
  base::write_file_atomic(path, file + header + bytes);
}

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  std::string out;
  for (const T& value : values) out.append(reinterpret_cast<const char*>(&value), sizeof value);
  return out;
}

TEST(Safetensors, EveryDtypeComesBack) {
  const TemporaryDirectory directory;
  NamedTensors tensors;
  for (const auto dtype :
       {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64, torch::kInt32,
        torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool, torch::kComplexFloat}) {
    const std::string name = dtype_name(dtype);
    tensors[name] = (torch::arange(15, torch::kFloat64).reshape({3, 5}) - (name == "uint8" ? 0 : 7)).to(dtype);
    tensors[name + ".scalar"] = torch::ones({}, dtype);
    tensors[name + ".empty"] = torch::zeros({2, 0, 3}, dtype);
  }
  write_safetensors(directory / "all", tensors, {{"format", "pt"}, {"caf\u00e9 \"1\"\n", ""}});

  const SafetensorsFile file(directory / "all");
  EXPECT_EQ(file.names().size(), tensors.size());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"caf\u00e9 \"1\"\n", ""}}));
  for (const auto& [name, expected] : tensors) {
    ASSERT_TRUE(file.contains(name));
    EXPECT_EQ(file.info(name).shape, expected.sizes().vec());
    EXPECT_TENSORS_CLOSE(file.tensor(name), expected, exact());
    EXPECT_TENSORS_CLOSE(file.copy(name), expected, exact());
  }
}

TEST(Safetensors, ReadsAFileOfAnotherWriter) {
  const TemporaryDirectory directory;
  const std::string header = R"({"b":{"dtype":"I16","shape":[],"data_offsets":[24,26]},"__metadata__":{"format":"np"},)"
                             R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}     )";
  write_raw(directory / "other", header, bytes_of({1.0f, -2.0f, 3.5f, 0.0f, 5.0f, 6.0f}) + bytes_of<int16_t>({-7}));
  const SafetensorsFile file(directory / "other");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"})) << "in the order of the bytes";
  EXPECT_TENSORS_CLOSE(file.tensor("a"), torch::tensor({1.0f, -2.0f, 3.5f, 0.0f, 5.0f, 6.0f}).reshape({2, 3}), exact());
  EXPECT_EQ(file.tensor("b").item<int16_t>(), -7);
  EXPECT_EQ(file.metadata().at("format"), "np");
}

TEST(Safetensors, ReadsWhatPythonWrote) {
  const SafetensorsFile file(INCONTEXT_SOURCE_DIR "/tests/golden/decoder_gpt2.safetensors");
  const base::Json config = base::Json::parse(file.metadata().at("config"));
  EXPECT_EQ(file.info("position.weight").shape,
            (std::vector<int64_t>{2 * config["points"].get<int64_t>(), config["width"].get<int64_t>()}));
  // The loss is the mean squared difference of two tensors of the file: their bytes are where they should be.
  const torch::Tensor loss = (file.tensor("predictions") - file.tensor("ys")).square().mean();
  EXPECT_TENSORS_CLOSE(loss, file.tensor("loss"), testing::accumulated(testing::kEpsilonF32, 10, 2.0));
  EXPECT_TENSORS_CLOSE(file.copy("adam_losses")[0], file.tensor("loss"), exact());
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  const TemporaryDirectory directory;
  write_raw(directory / "none", "{}", "");
  EXPECT_TRUE(SafetensorsFile(directory / "none").names().empty());
  write_safetensors(directory / "ours", {});
  EXPECT_TRUE(SafetensorsFile(directory / "ours").names().empty());
}

TEST(Safetensors, TensorsAreViewsThatOutliveTheFile) {
  const TemporaryDirectory directory;
  const torch::Tensor expected = torch::arange(100'000, torch::kFloat32);
  write_safetensors(directory / "file", {{"x", expected}});
  torch::Tensor x, row;
  {
    const SafetensorsFile file(directory / "file");
    x = file.tensor("x");
    EXPECT_EQ(x.data_ptr(), file.tensor("x").data_ptr()) << "both look at the map";
    EXPECT_NE(file.copy("x").data_ptr(), x.data_ptr());
    row = file.tensor("x").view({100, 1000})[3];
  }
  std::filesystem::remove(directory / "file");
  EXPECT_TENSORS_CLOSE(x, expected, exact());
  x.reset();
  EXPECT_EQ(row[5].item<float>(), 3005.0f);
}

TEST(Safetensors, CopiesWhatIsNotAligned) {
  const TemporaryDirectory directory;
  for (size_t padding = 0; padding < 8; ++padding) {  // moves the start of the bytes through every remainder
    const std::string header = R"({"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}})" + std::string(padding, ' ');
    write_raw(directory / "file", header, bytes_of({1.5, -2.5}));
    const torch::Tensor x = SafetensorsFile(directory / "file").tensor("x");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.data_ptr()) % 8, 0u);
    EXPECT_TENSORS_CLOSE(x, torch::tensor({1.5, -2.5}, torch::kFloat64), exact());
  }
}

TEST(Safetensors, WritesTheDocumentedLayout) {
  const TemporaryDirectory directory;
  write_safetensors(
      directory / "file",
      {{"a", torch::tensor({1, 2}, torch::kInt8)}, {"z", torch::tensor({1.0f})}, {"m", torch::tensor({2.0f})}},
      {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("z":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"a":{"dtype":"I8","shape":[2],"data_offsets":[8,10]}})";
  std::string padded = header;
  while (padded.size() % 8 != 0) padded += ' ';
  write_raw(directory / "expected", padded, bytes_of({2.0f, 1.0f}) + "\x01\x02");
  EXPECT_EQ(base::read_file(directory / "file"), base::read_file(directory / "expected"));
}

TEST(Safetensors, WritesStridedAndTrackedTensorsByValue) {
  const TemporaryDirectory directory;
  const torch::Tensor x = torch::arange(6, torch::kFloat32).reshape({2, 3}).requires_grad_(true);
  write_safetensors(directory / "file", {{"t", x.t()}, {"row", x[1]}, {"same", torch::ones({1}).expand({4})}});
  const SafetensorsFile file(directory / "file");
  EXPECT_TENSORS_CLOSE(file.tensor("t"), x.t().contiguous(), exact());
  EXPECT_TENSORS_CLOSE(file.tensor("row"), torch::tensor({3.0f, 4.0f, 5.0f}), exact());
  EXPECT_TENSORS_CLOSE(file.tensor("same"), torch::ones({4}), exact());
}

TEST(Safetensors, KeepsNaNBits) {
  const TemporaryDirectory directory;
  const torch::Tensor bits = torch::tensor({0x7fc01234, 0x7f800000, int{-0x7fffffff - 1}}, torch::kInt32);
  write_safetensors(directory / "file", {{"x", bits.view(torch::kFloat32)}});
  EXPECT_TENSORS_CLOSE(SafetensorsFile(directory / "file").tensor("x").view(torch::kInt32), bits, exact());
}

TEST(Safetensors, RefusesToWriteWhatTheFormatLacks) {
  const TemporaryDirectory directory;
  const auto refuses = [&](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    EXPECT_THROW(write_safetensors(directory / "file", tensors, metadata), base::Error);
    EXPECT_FALSE(std::filesystem::exists(directory / "file"));
  };
  refuses({{"x", torch::Tensor()}});
  refuses({{"x", torch::ones({2}).to_sparse()}});
  refuses({{"x", torch::ones({2}, torch::kComplexDouble)}});
  refuses({{"__metadata__", torch::ones({2})}});
  refuses({{"\xff", torch::ones({2})}});
  refuses({{"x", torch::ones({2})}}, {{"key", "\xc3"}});
}

TEST(Safetensors, UnknownNamesSuggestTheNearest) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "file", {{"norm.weight", torch::ones({1})}});
  const SafetensorsFile file(directory / "file");
  EXPECT_FALSE(file.contains("norm.weigth"));
  try {
    file.tensor("norm.weigth");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"norm.weight\"?"), std::string::npos) << error.what();
  }
}

TEST(Safetensors, ListsTypesItCannotLoad) {
  const TemporaryDirectory directory;
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "U16", "U32", "U64"}) {
    const uint64_t size = safetensors_element_size(dtype);
    write_raw(directory / "file",
              fmt::format(R"({{"x":{{"dtype":"{}","shape":[1],"data_offsets":[0,{}]}}}})", dtype, size),
              std::string(size, '\0'));
    const SafetensorsFile file(directory / "file");
    EXPECT_EQ(file.info("x").dtype, dtype);
    EXPECT_THROW(file.tensor("x"), base::Error);
  }
}

TEST(Safetensors, RefusesBooleansThatAreNeither) {
  const TemporaryDirectory directory;
  write_raw(directory / "file", R"({"x":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", std::string("\0\1\2", 3));
  EXPECT_THROW(SafetensorsFile(directory / "file").tensor("x"), base::Error);
}

}  // namespace
}  // namespace incontext::tensor
