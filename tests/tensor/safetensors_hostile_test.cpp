// Files that break the format. Each must end as base::Error of one line; under ASan no byte outside may be read.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/error.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"
#include "tensor/torch.h"

namespace incontext::tensor {
namespace {

using testing::TemporaryDirectory;

std::string length_bytes(uint64_t length) {
  std::string out;
  for (unsigned shift = 0; shift < 64; shift += 8) out += static_cast<char>(length >> shift & 0xff);
  return out;
}

std::string framed(const std::string& header, const std::string& bytes = "") {
  return length_bytes(header.size()) + header + bytes;
}

/// Header of one tensor "x" with eight bytes of data.
std::string one(const std::string& fields) { return framed("{\"x\":{" + fields + "}}", std::string(8, '\0')); }

/// Tensors of U8 with these offsets, over `size` bytes.
std::string laid_out(const std::vector<std::pair<int, int>>& offsets, size_t size) {
  std::string header;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const auto [begin, end] = offsets[i];
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", i == 0 ? "{" : ",", i,
                          end - begin, begin, end);
  }
  return framed(header + "}", std::string(size, 'x'));
}

/// Opens `contents` as a file and reads every tensor. Returns the message, or "" when all went well.
std::string error_of(const TemporaryDirectory& directory, const std::string& contents) {
  std::ofstream(directory / "file", std::ios::binary) << contents;
  try {
    const SafetensorsFile file(directory / "file");
    for (const std::string& name : file.names()) file.copy(name);
    return "";
  } catch (const base::Error& error) {
    return error.what();
  }
}

struct Case {
  const char* what;
  std::string contents;
  std::string words;
};

std::vector<Case> framing_cases() {
  const std::string nested = "{\"x\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  return {
      {"empty", "", "file is truncated"},
      {"seven bytes", std::string(7, '\0'), "file is truncated"},
      {"empty header", framed(""), "does not start with '{'"},
      {"a web page", "<!DOCTYPE html><html></html>", "not a safetensors file"},
      {"length over the limit", length_bytes(100'000'001) + "{}", "allowed are 100000000"},
      {"length of all ones", length_bytes(~uint64_t{0}) + "{}", "allowed are 100000000"},
      {"length beyond the file", length_bytes(3) + "{}", "expected at least 11 bytes for the header, have 10"},
      {"starts with a space", framed(" {}"), "does not start with '{'"},
      {"a list", framed("[]"), "does not start with '{'"},
      {"a byte order mark", framed("\xEF\xBB\xBF{}"), "does not start with '{'"},
      {"open object", framed("{"), "not valid JSON"},
      {"two values", framed("{}{}"), "not valid JSON"},
      {"text after a zero byte", framed(std::string("{}\0garbage", 10)), "zero byte"},
      {"padded with zero bytes", framed(std::string("{}\0\0", 4)), "zero byte"},
      {"a comment", framed("{/* */}"), "not valid JSON"},
      {"bad UTF-8", framed("{\"\xC3\x28\":{}}"), "not valid JSON in UTF-8"},
      {"overlong UTF-8", framed("{\"\xC0\x80\":{}}"), "not valid JSON in UTF-8"},
      {"half a surrogate pair", framed(R"({"\ud800":{}})"), "not valid JSON"},
      {"a number out of range", framed(R"({"x":1e999})"), "not valid JSON"},
      {"nested lists", framed(nested), "nests deeper"},
      {"nested objects", framed(objects), "nests deeper"},
      {"the same tensor twice",
       framed(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
              R"("x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
              "x"),
       "has the key \"x\" twice"},
      {"the same name escaped", framed(R"({"x":1,"\u0078":2})"), "has the key \"x\" twice"},
      {"the same metadata twice", framed(R"({"__metadata__":{"a":"1","a":"2"}})"), "has the key \"a\" twice"},
      {"metadata twice", framed(R"({"__metadata__":{},"__metadata__":{}})"), "twice"},
      {"metadata that is no object", framed(R"({"__metadata__":"a"})"), "__metadata__"},
      {"metadata that is no text", framed(R"({"__metadata__":{"a":1}})"), "__metadata__"},
      {"a line break in a name", framed("{\"a\\nb\":1}"), "tensor \"a\\nb\": expected an object"},
      {"a long name", framed("{\"" + std::string(100'000, 'n') + "\":1}"), "nnn...\": expected an object"},
  };
}

std::vector<Case> field_cases() {
  return {
      {"entry is a number", framed(R"({"x":1})"), "tensor \"x\": expected an object"},
      {"no dtype", one(R"("shape":[2],"data_offsets":[0,8])"), "tensor \"x\": 'dtype' is missing"},
      {"no shape", one(R"("dtype":"F32","data_offsets":[0,8])"), "tensor \"x\": 'shape' is missing"},
      {"no offsets", one(R"("dtype":"F32","shape":[2])"), "tensor \"x\": 'data_offsets' is missing"},
      {"the old name of offsets", one(R"("dtype":"F32","shape":[2],"offsets":[0,8])"), "'data_offsets' is missing"},
      {"a field twice", one(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), "twice"},
      {"dtype is a number", one(R"("dtype":4,"shape":[2],"data_offsets":[0,8])"), "expected text in 'dtype'"},
      {"unknown dtype", one(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])"), "unknown dtype \"F31\""},
      {"lower case dtype", one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), "unknown dtype"},
      {"shape is a number", one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "expected a list in 'shape'"},
      {"shape is text", one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), "whole numbers"},
      {"negative size", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
       "whole numbers of 0 or more in 'shape', got -2"},
      {"two negative sizes", one(R"("dtype":"F32","shape":[-2,-1],"data_offsets":[0,8])"), "whole numbers"},
      {"minus zero", one(R"("dtype":"F32","shape":[-0],"data_offsets":[0,0])"), "whole numbers"},
      {"fractional size", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "whole numbers"},
      {"size above 64 bits", one(R"("dtype":"F32","shape":[18446744073709551618],"data_offsets":[0,8])"),
       "whole numbers"},
      {"size above 63 bits", one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"), "overflows"},
      {"product wraps to 2", one(R"("dtype":"F32","shape":[4611686018427387904,4,2],"data_offsets":[0,8])"),
       "overflows"},
      {"bytes wrap to 8", one(R"("dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8])"), "overflows"},
      {"zero hides an overflow", one(R"("dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0])"),
       "overflows"},
      {"offsets are one", one(R"("dtype":"F32","shape":[2],"data_offsets":[8])"), "expected [begin, end]"},
      {"offsets are three", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), "expected [begin, end]"},
      {"offsets are an object", one(R"("dtype":"F32","shape":[2],"data_offsets":{"a":0,"b":8})"),
       "expected [begin, end]"},
      {"negative offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), "whole numbers"},
      {"fractional offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8.5])"), "whole numbers"},
      {"ends before it begins", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "begin at 8 but end at 0"},
      {"offsets near 2^64",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])"),
       "data_offsets span 7"},
      {"far beyond the file",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551600,18446744073709551608])"), "a hole of"},
      {"too few bytes", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,7])"),
       "make 8 bytes, but data_offsets span 7"},
      {"too many bytes", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"),
       "make 4 bytes, but data_offsets span 8"},
      {"bytes for an empty tensor", one(R"("dtype":"F32","shape":[0],"data_offsets":[0,8])"), "make 0 bytes"},
      {"no bytes for a scalar", one(R"("dtype":"F32","shape":[],"data_offsets":[0,0])"), "make 4 bytes"},
      {"booleans of two", framed(R"({"x":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"), "BOOL"},
  };
}

std::vector<Case> layout_cases() {
  return {
      {"overlap", laid_out({{0, 4}, {3, 8}}, 8), "tensor \"t1\": its bytes from 3 overlap"},
      {"one in another", laid_out({{0, 8}, {2, 4}}, 8), "tensor \"t1\": its bytes from 2 overlap"},
      {"the same bytes twice", laid_out({{0, 8}, {0, 8}}, 8), "overlap"},
      {"an empty tensor inside another", laid_out({{0, 8}, {4, 4}}, 8), "overlap"},
      {"hole at the start", laid_out({{1, 8}}, 8), "tensor \"t0\": a hole of 1 bytes"},
      {"hole between", laid_out({{5, 8}, {0, 4}}, 8), "tensor \"t0\": a hole of 1 bytes"},
      {"trailing bytes", laid_out({{0, 4}, {4, 8}}, 9), "1 trailing bytes"},
      {"no tensor but bytes", framed("{}", "x"), "1 trailing bytes"},
      {"truncated", laid_out({{0, 4}, {4, 8}}, 7), "file is truncated: expected 123 bytes, have 122"},
  };
}

TEST(SafetensorsHostile, EachBrokenRuleIsTold) {
  const TemporaryDirectory directory;
  const std::string path = (directory / "file").string();
  for (const auto& cases : {framing_cases(), field_cases(), layout_cases()}) {
    for (const Case& c : cases) {
      const std::string message = error_of(directory, c.contents);
      EXPECT_NE(message.find(c.words), std::string::npos) << c.what << ": got '" << message << "'";
      EXPECT_EQ(message.rfind(path + ": ", 0), 0u) << c.what << ": names the file";
      EXPECT_EQ(message.find('\n'), std::string::npos) << c.what << ": one line";
      EXPECT_LT(message.size(), path.size() + 300) << c.what;
    }
  }
}

TEST(SafetensorsHostile, TheTableIsNotRefusedForAnotherReason) {
  const TemporaryDirectory directory;
  EXPECT_EQ(error_of(directory, one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])")), "");
  EXPECT_EQ(error_of(directory, one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"note":[[1]])")), "");
  EXPECT_EQ(error_of(directory, laid_out({{4, 8}, {0, 4}, {8, 8}, {0, 0}, {4, 4}}, 8)), "");
  EXPECT_EQ(error_of(directory, framed(R"({"__metadata__":{"a":"1"}})")), "");
  EXPECT_EQ(error_of(directory, framed(R"({"__metadata__":null})")), "");  // as the format's own library reads it
  EXPECT_EQ(error_of(directory, framed("{}  \n\t ")), "");
}

std::string small_file(const TemporaryDirectory& directory) {
  write_safetensors(directory / "small",
                    {{"weight", torch::arange(6, torch::kFloat32).reshape({2, 3})},
                     {"count", torch::tensor({3, 4}, torch::kInt64)},
                     {"mask", torch::tensor({true, false, true})},
                     {"none", torch::zeros({0, 2})}},
                    {{"format", "pt"}});
  return base::read_file(directory / "small");
}

TEST(SafetensorsHostile, EveryTruncationIsRefused) {
  const TemporaryDirectory directory;
  const std::string whole = small_file(directory);
  ASSERT_EQ(error_of(directory, whole), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message = error_of(directory, whole.substr(0, size));
    EXPECT_NE(message.find("file is truncated"), std::string::npos) << size << ": " << message;
    EXPECT_NE(message.find(fmt::format("have {}", size)), std::string::npos) << size << ": " << message;
  }
}

/// Element type and shape of every tensor, whatever its name.
std::multiset<std::pair<std::string, std::vector<int64_t>>> shapes(const SafetensorsFile& file) {
  std::multiset<std::pair<std::string, std::vector<int64_t>>> out;
  for (const std::string& name : file.names()) {
    const torch::Tensor tensor = file.copy(name);
    EXPECT_EQ(tensor.sizes().vec(), file.info(name).shape);
    out.emplace(file.info(name).dtype, tensor.sizes().vec());
  }
  return out;
}

TEST(SafetensorsHostile, EveryFlippedBitOfTheHeaderIsRefusedOrHarmless) {
  const TemporaryDirectory directory;
  const std::string whole = small_file(directory);
  const auto expected = shapes(SafetensorsFile(directory / "small"));
  const size_t header_end = 8 + static_cast<unsigned char>(whole[0]) + 256u * static_cast<unsigned char>(whole[1]);
  ASSERT_EQ(whole.size() - header_end, 16u + 24u + 3u);
  int refused = 0, loaded = 0;
  for (size_t bit = 0; bit < 8 * header_end; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    std::ofstream(directory / "file", std::ios::binary) << flipped;
    try {
      const SafetensorsFile file(directory / "file");
      // Flips in a name or in the metadata load; "none", which has no bytes, may change its empty shape or type.
      auto actual = shapes(file);
      EXPECT_EQ(actual.size(), expected.size()) << "bit " << bit;
      for (const auto& entry : expected) {
        const bool empty = entry.second == std::vector<int64_t>{0, 2};
        EXPECT_TRUE(empty || actual.contains(entry)) << "bit " << bit;
      }
      ++loaded;
    } catch (const base::Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
  EXPECT_GT(loaded, 100);
}

}  // namespace
}  // namespace incontext::tensor
