#include "text/byte_tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temporary_directory.h"

namespace incontext::text {
namespace {

const std::string kHard = std::string("a\x01 é 汉字 \U0001F600 \x7f\n\t") + "  two";

TEST(ByteTokenizer, IdsAreBytes) {
  const auto tokenizer = byte_tokenizer();
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  std::vector<int64_t> bytes;
  for (const char c : kHard) bytes.push_back(static_cast<unsigned char>(c));
  EXPECT_EQ(tokenizer->encode(kHard), bytes);
  EXPECT_EQ(tokenizer->decode(bytes), kHard);
}

TEST(ByteTokenizer, EndOfTextIsOneToken) {
  const auto tokenizer = byte_tokenizer();
  EXPECT_EQ(tokenizer->special_tokens().eos, 256);
  EXPECT_EQ(tokenizer->encode("a<|endoftext|>b"), (std::vector<int64_t>{'a', 256, 'b'}));
  const std::vector<int64_t> ids = {'a', 256};
  EXPECT_EQ(tokenizer->decode(ids, /*skip_special_tokens=*/true), "a");
}

TEST(ByteTokenizer, ItsFilesOpenAsTheSame) {
  const testing::TemporaryDirectory folder;
  std::ofstream(folder / "tokenizer.json") << byte_tokenizer_json();
  std::ofstream(folder / "tokenizer_config.json") << byte_tokenizer_config_json();
  const auto opened = Tokenizer::open(folder.path());
  EXPECT_EQ(opened->encode(kHard + "<|endoftext|>"), byte_tokenizer()->encode(kHard + "<|endoftext|>"));
  EXPECT_EQ(opened->special_tokens().eos, 256);
  EXPECT_EQ(opened->special_tokens().stops, byte_tokenizer()->special_tokens().stops);
  EXPECT_EQ(opened->vocab_size(), 257);
}

}  // namespace
}  // namespace incontext::text
