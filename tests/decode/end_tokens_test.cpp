// Which tokens end a turn, of all that the files of a folder name.

#include "decode/end_tokens.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/config_node.h"
#include "support/temporary_directory.h"

namespace incontext::decode {
namespace {

using base::Json;

class EndTokens : public ::testing::Test {
 protected:
  void write(const char* name, const Json& json) const { std::ofstream(folder_ / name) << json.dump(); }

  // A token per letter; those of `special` are special, `plain` stands in the vocabulary alone.
  void write_tokenizer(const std::vector<std::string>& special, const std::vector<std::string>& plain = {}) const {
    Json vocabulary = {{"a", 0}, {"b", 1}}, added = Json::array();
    for (const std::string& token : plain) vocabulary[token] = vocabulary.size();
    int64_t id = static_cast<int64_t>(vocabulary.size());
    for (const std::string& token : special) {
      added.push_back({{"id", id++},
                       {"content", token},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    }
    write("tokenizer.json", {{"version", "1.0"},
                             {"added_tokens", added},
                             {"normalizer", nullptr},
                             {"pre_tokenizer", nullptr},
                             {"post_processor", nullptr},
                             {"decoder", nullptr},
                             {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}});
  }
  std::vector<int64_t> ends(const std::vector<int64_t>& model_ids = {}) const {
    return end_tokens(*text::Tokenizer::open(folder_.path()), model_ids);
  }

  testing::TemporaryDirectory folder_;
};

TEST_F(EndTokens, AreThoseOfEveryFile) {
  write_tokenizer({"<s>", "</s>", "<|one|>", "<|two|>", "<|im_end|>", "<|im_start|>"});
  EXPECT_EQ(ends(), std::vector<int64_t>{6}) << "known by its text";
  write("config.json", {{"eos_token_id", 4}});
  EXPECT_EQ(ends({4}), (std::vector<int64_t>{4, 6}));
  write("generation_config.json", {{"eos_token_id", {5, 4}}});
  EXPECT_EQ(ends({4}), (std::vector<int64_t>{5, 4, 6}));
  write("tokenizer_config.json", {{"eos_token", "</s>"}});
  EXPECT_EQ(ends({4}), (std::vector<int64_t>{5, 4, 3, 6}));
}

TEST_F(EndTokens, AreKnownByTheirTextWhereTheyAreSpecial) {
  for (const char* name :
       {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>",
        "<end_of_utterance>", "<|END_OF_TURN_TOKEN|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"}) {
    write_tokenizer({"<s>", name});
    EXPECT_EQ(ends(), std::vector<int64_t>{3}) << name;
    write_tokenizer({"<s>"}, {name});
    EXPECT_TRUE(ends().empty()) << name << " is an ordinary word";
  }
  write_tokenizer({"<|return|>", "<|call|>", "<|end|>", "<|start|>"});
  EXPECT_EQ(ends(), (std::vector<int64_t>{2, 3})) << "<|end|> ends a part of a turn there";
}

TEST_F(EndTokens, AreToldToPeople) {
  write_tokenizer({"<s>", "</s>"});
  const auto tokenizer = text::Tokenizer::open(folder_.path());
  EXPECT_EQ(describe_tokens(*tokenizer, {3, 2}), "</s> (3) and <s> (2)");
  EXPECT_EQ(describe_tokens(*tokenizer, {9}), "no token (9)");
}

}  // namespace
}  // namespace incontext::decode
