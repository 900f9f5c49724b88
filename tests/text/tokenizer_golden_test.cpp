// Every tokenizer of tests/golden/text/tokenizers against what the tokenizers library gave (tools/make_golden_text.py).
#include <gtest/gtest.h>

#include <random>

#include "text/golden.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using Ids = std::vector<int64_t>;

class TokenizerGolden : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder_ = golden_folder() / "tokenizers" / GetParam();
  std::shared_ptr<const Tokenizer> tokenizer_ = Tokenizer::open(folder_);
  nlohmann::json golden_ = read_golden(std::filesystem::path("tokenizers") / GetParam() / "golden.json");
  nlohmann::json texts_ = golden_.contains("texts") ? golden_["texts"] : read_golden("texts.json");
};

TEST_P(TokenizerGolden, EncodesAndDecodesLikeTheReference) {
  const nlohmann::json& rows = golden_["rows"];
  ASSERT_EQ(rows.size(), texts_.size());
  ASSERT_GT(rows.size(), 100U);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto text = texts_[i].get<std::string>();
    SCOPED_TRACE("text " + std::to_string(i) + ": " + texts_[i].dump());
    const auto ids = rows[i][0].get<Ids>();
    EXPECT_EQ(tokenizer_->encode(text), ids);
    EXPECT_EQ(tokenizer_->encode(text, false), rows[i][1].is_null() ? ids : rows[i][1].get<Ids>());
    if (rows[i].size() == 2) continue;
    EXPECT_EQ(tokenizer_->decode(ids), rows[i][2].get<std::string>());
    EXPECT_EQ(tokenizer_->decode(ids, true), rows[i][3].is_null() ? text : rows[i][3].get<std::string>());
  }
}

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer, const Ids& ids, bool skip) {
  StreamDecoder stream(tokenizer, skip);
  std::string out;
  for (const int64_t id : ids) {
    const std::string piece = stream.push(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    out += piece;
  }
  const std::string rest = stream.finish();
  EXPECT_TRUE(is_valid_utf8(rest));
  EXPECT_EQ(stream.finish(), "");
  return out + rest;
}

TEST_P(TokenizerGolden, StreamedPiecesAreTheWholeText) {
  for (const nlohmann::json& row : golden_["rows"]) {
    const auto ids = row[0].get<Ids>();
    EXPECT_EQ(streamed(tokenizer_, ids, false), tokenizer_->decode(ids));
    EXPECT_EQ(streamed(tokenizer_, ids, true), tokenizer_->decode(ids, true));
  }
}

TEST_P(TokenizerGolden, StreamsAnyIdsAsDecodeDoes) {
  std::mt19937 generator(7);
  std::uniform_int_distribution<int64_t> any(-2, tokenizer_->vocab_size() + 2);
  for (int round = 0; round < 200; ++round) {
    Ids ids(static_cast<size_t>(round % 23));
    for (int64_t& id : ids) id = any(generator);
    const std::string whole = tokenizer_->decode(ids);
    EXPECT_TRUE(is_valid_utf8(whole));
    EXPECT_EQ(streamed(tokenizer_, ids, false), whole);
  }
}

TEST_P(TokenizerGolden, TokensAndIdsAreTheSameBothWays) {
  int64_t known = 0;
  for (int64_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const auto token = tokenizer_->id_to_token(id);
    if (!token) continue;
    ++known;
    EXPECT_EQ(tokenizer_->token_to_id(*token), id) << *token;
  }
  EXPECT_GT(known, 20);
  EXPECT_FALSE(tokenizer_->id_to_token(tokenizer_->vocab_size()));
  EXPECT_FALSE(tokenizer_->id_to_token(-1));
  EXPECT_FALSE(tokenizer_->token_to_id("surely no token"));
}

std::string name_of(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Families, TokenizerGolden,
                         ::testing::Values("llama2", "llama2_legacy", "llama2_metaspace", "llama3", "mistral", "tekken",
                                           "qwen2", "phi3", "gpt2", "gpt2_files", "opt", "opt_files", "roberta", "neox",
                                           "falcon", "rare", "sentencepiece"),
                         name_of);

}  // namespace
}  // namespace incontext::text
