#include "decode/text_stream.h"

#include <gtest/gtest.h>

#include "text/golden.h"

namespace incontext::decode {
namespace {

using Ids = std::vector<int64_t>;

std::string streamed(const std::shared_ptr<const text::Tokenizer>& tokenizer, std::span<const int64_t> prompt,
                     std::span<const int64_t> continuation, const std::vector<std::string>& stops = {}) {
  TextStream stream(tokenizer, prompt, stops);
  std::string out;
  for (const int64_t id : continuation) out += stream.push(id);
  out += stream.finish();
  EXPECT_EQ(out, stream.text());
  return out;
}

class TextStreamOf : public ::testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const text::Tokenizer> tokenizer_ =
      text::Tokenizer::open(text::golden_folder() / "tokenizers" / GetParam());
};

// The decoders of SentencePiece drop the space that begins a text: a continuation that is decoded alone loses it.
TEST_P(TextStreamOf, IsWhatTheWholeTextHasBeyondThePrompt) {
  size_t compared = 0;
  for (const char* text : {"Once upon a time", "a  b   c", "<s>Hello  world", " x", "\xE4\xBD\xA0\xE5\xA5\xBD, world",
                           "the\n\n the", "\xF0\x9F\x98\x80 \xF0\x9F\x98\x80"}) {
    const Ids ids = tokenizer_->encode(text);
    const std::string whole = tokenizer_->decode(ids, true);
    for (size_t cut = 0; cut <= ids.size(); ++cut) {
      SCOPED_TRACE(std::string(text) + " cut at " + std::to_string(cut));
      const auto all = std::span<const int64_t>(ids);
      const std::string before = tokenizer_->decode(all.first(cut), true);
      if (!whole.starts_with(before)) continue;  // within a character
      ++compared;
      EXPECT_EQ(streamed(tokenizer_, all.first(cut), all.subspan(cut)), whole.substr(before.size()));
    }
  }
  EXPECT_GT(compared, 20U);
}

INSTANTIATE_TEST_SUITE_P(Families, TextStreamOf,
                         ::testing::Values("llama2", "llama2_metaspace", "llama3", "gpt2", "qwen2", "sentencepiece",
                                           "rare"),
                         [](const auto& family) { return family.param; });

TEST(TextStream, ACharacterThatThePromptBeganIsTheContinuations) {
  const auto tokenizer = text::Tokenizer::open(text::golden_folder() / "tokenizers" / "llama2");
  Ids ids = tokenizer->encode("a \xF0\x9F\x98\x80");
  const Ids bytes(ids.end() - 4, ids.end());  // of the last character
  const auto all = std::span<const int64_t>(ids);
  for (size_t cut = 1; cut <= 3; ++cut) {
    EXPECT_EQ(streamed(tokenizer, all.first(all.size() - cut), all.last(cut)), "\xF0\x9F\x98\x80") << cut;
  }
}

TEST(TextStream, AContinuationAloneIsAText) {
  const auto tokenizer = text::Tokenizer::open(text::golden_folder() / "tokenizers" / "llama2");
  EXPECT_EQ(streamed(tokenizer, {}, tokenizer->encode("the reader")), "the reader");
}

TEST(TextStream, StopStringsAreSoughtInTheContinuationOnly) {
  const auto tokenizer = text::Tokenizer::open(text::golden_folder() / "tokenizers" / "llama2");
  const Ids ids = tokenizer->encode("the reader reads the text");
  const Ids prompt = tokenizer->encode("the reader");
  ASSERT_TRUE(std::equal(prompt.begin(), prompt.end(), ids.begin()));
  EXPECT_EQ(streamed(tokenizer, prompt, std::span<const int64_t>(ids).subspan(prompt.size()), {"reader", " the"}),
            " reads");
}

}  // namespace
}  // namespace incontext::decode
