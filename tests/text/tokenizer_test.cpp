#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "text/golden.h"
#include "text/stream_decoder.h"

namespace incontext::text {
namespace {

using Ids = std::vector<int64_t>;

std::filesystem::path family(const std::string& name) { return golden_folder() / "tokenizers" / name; }

// A copy of a family's folder that tests may spoil.
class TokenizerFolder : public ::testing::Test {
 protected:
  void copy(const std::string& name) {
    std::filesystem::copy(family(name), folder_.path(),
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  // Sets one value, named by a JSON pointer, in a file.
  void change(const std::string& name, const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json json = std::filesystem::exists(folder_ / name)
                              ? nlohmann::json::parse(base::read_file(folder_ / name))
                              : nlohmann::json::object();
    json[nlohmann::json::json_pointer(pointer)] = value;
    write(name, json.dump());
  }
  std::shared_ptr<const Tokenizer> open() const { return Tokenizer::open(folder_.path()); }
  std::string error() const {
    try {
      open();
      return "no error";
    } catch (const base::Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.find('\n'), std::string::npos);
      EXPECT_NE(text.find(folder_.path().string()), std::string::npos) << text;
      const std::string place = folder_.path().string() + "/";
      return text.starts_with(place) ? text.substr(place.size()) : text;
    }
  }
  testing::TemporaryDirectory folder_;
};

TEST_F(TokenizerFolder, WithoutFilesTellsWhichAreAccepted) {
  EXPECT_EQ(error(),
            folder_.path().string() +
                ": no tokenizer here, expected tokenizer.json, or tokenizer.model, or vocab.json and merges.txt");
  write("vocab.json", "{}");
  EXPECT_NE(error().find("no tokenizer here"), std::string::npos);
}

TEST_F(TokenizerFolder, UnknownPartsAreNamed) {
  copy("gpt2");
  change("tokenizer.json", "/model/type", "Unigram");
  EXPECT_EQ(error(), "tokenizer.json.model: the model 'Unigram' is not supported, expected BPE");
  change("tokenizer.json", "/model/type", "BPE");
  change("tokenizer.json", "/model/dropout", 0.1);
  EXPECT_EQ(error(),
            "tokenizer.json.model.dropout: tokens that change from call to call are not supported, expected null or 0");
  change("tokenizer.json", "/model/dropout", nullptr);
  change("tokenizer.json", "/normalizer", {{"type", "Precompiled"}});
  EXPECT_NE(error().find("tokenizer.json.normalizer: the normalizer 'Precompiled' is not supported, expected one of"),
            std::string::npos);
  change("tokenizer.json", "/normalizer", nullptr);
  change("tokenizer.json", "/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Nonesuch"}}}}});
  EXPECT_NE(error().find("pre_tokenizer.pretokenizers[0]: the pre-tokenizer 'Nonesuch'"), std::string::npos);
  change("tokenizer.json", "/pre_tokenizer", nullptr);
  change("tokenizer.json", "/decoder", {{"type", "CTC"}});
  EXPECT_NE(error().find("decoder: the decoder 'CTC'"), std::string::npos);
  change("tokenizer.json", "/decoder", nullptr);
  change("tokenizer.json", "/post_processor", {{"type", "Nonesuch"}});
  EXPECT_NE(error().find("post_processor: the post-processor 'Nonesuch'"), std::string::npos);
}

TEST_F(TokenizerFolder, BrokenFilesAreNamed) {
  copy("gpt2");
  const std::string whole = base::read_file(folder_ / "tokenizer.json");
  write("tokenizer.json", whole.substr(0, whole.size() / 2));
  EXPECT_NE(error().find("tokenizer.json: is not valid JSON: near byte"), std::string::npos);
  write("tokenizer.json", "[]");
  EXPECT_EQ(error(), "tokenizer.json: expected an object, got a array of 0");
  write("tokenizer.json", "{}");
  EXPECT_EQ(error(), "tokenizer.json: 'model' is missing");
  write("tokenizer.json", whole);
  change("tokenizer.json", "/model/merges", {"a b c"});
  EXPECT_EQ(error(), "tokenizer.json.model.merges[0]: expected two tokens, got \"a b c\"");
  change("tokenizer.json", "/model/merges", {"a nonesuch"});
  EXPECT_EQ(error(), "tokenizer.json.model: the merge 'a nonesuch' needs 'nonesuch', which the vocabulary lacks");
  write("tokenizer.json", whole);
  change("tokenizer.json", "/model/vocab/x", "1");
  EXPECT_EQ(error(), "tokenizer.json.model.vocab.x: expected an integer, got \"1\"");
  change("tokenizer.json", "/model/vocab/x", -1);
  EXPECT_EQ(error(), "tokenizer.json.model: the id of 'x' is -1, expected a small positive one");
}

TEST_F(TokenizerFolder, SequencesAreNotEndless) {
  copy("gpt2");
  nlohmann::json deep = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) deep = {{"type", "Sequence"}, {"normalizers", nlohmann::json::array({deep})}};
  change("tokenizer.json", "/normalizer", deep);
  EXPECT_NE(error().find("sequences are nested deeper than 16"), std::string::npos);
}

TEST_F(TokenizerFolder, IdsAreOfTokens) {
  copy("gpt2");
  change("tokenizer.json", "/added_tokens/0/id", INT64_MAX);
  EXPECT_EQ(error(), "tokenizer.json.added_tokens[0].id: expected an id from 0 to 2147483646, got 9223372036854775807");
  change("tokenizer.json", "/added_tokens/0/id", -1);
  EXPECT_EQ(error(), "tokenizer.json.added_tokens[0].id: expected an id from 0 to 2147483646, got -1");
  change("tokenizer.json", "/added_tokens/0/id", UINT64_MAX);
  EXPECT_NE(error().find("expected a smaller integer, got 18446744073709551615"), std::string::npos);
  change("tokenizer.json", "/added_tokens", nlohmann::json::array());
  change("tokenizer.json", "/post_processor", {{"type", "BertProcessing"}, {"cls", {"a", -3}}, {"sep", {"a", 1}}});
  EXPECT_NE(error().find("post_processor.cls[1]: expected an id"), std::string::npos);
}

TEST_F(TokenizerFolder, NumbersThatAreTooLargeAreTold) {
  write("tokenizer.json", R"({"model": {"vocab": {"a": 1e999}, "merges": []}})");
  EXPECT_EQ(error(), "tokenizer.json: holds a number that is too large");
}

// As Python's json module writes them.
TEST_F(TokenizerFolder, FilesMayHoldNumbersThatJsonHasNot) {
  copy("llama2");
  const Ids ids = open()->encode("Hello");
  write("tokenizer_config.json", R"({"model_max_length": Infinity, "bos_token": "<s>", "x": [NaN, -Infinity],
      "y": 1000000000000000019884624838656, "eos_token": "</s>"})");
  write("generation_config.json", R"({"temperature": Infinity, "eos_token_id": [2]})");
  EXPECT_EQ(open()->encode("Hello"), ids);
  EXPECT_EQ(open()->special_tokens().stops, Ids{2});
}

TEST_F(TokenizerFolder, SideFilesOfAnyShapeAreRead) {
  copy("gpt2_files");
  change("tokenizer_config.json", "/other", {{"content", 3}});
  change("tokenizer_config.json", "/bos_token", "a");
  EXPECT_EQ(open()->special_tokens().bos, open()->token_to_id("a"));
}

// A step that doubles a text is harmless, forty of them fill any memory.
TEST_F(TokenizerFolder, TextsDoNotGrowWithoutEnd) {
  copy("gpt2");
  nlohmann::json steps = nlohmann::json::array();
  for (int i = 0; i < 40; ++i) steps.push_back({{"type", "Replace"}, {"pattern", "a"}, {"content", "aa"}});
  const auto encode_error = [&] {
    return testing::error_of([&] { open()->decode(open()->encode(std::string(100, 'a'))); });
  };
  change("tokenizer.json", "/normalizer", {{"type", "Sequence"}, {"normalizers", steps}});
  EXPECT_CONTAINS(encode_error(), "the tokenizer makes ");
  change("tokenizer.json", "/normalizer", nullptr);
  change("tokenizer.json", "/decoder", {{"type", "Sequence"}, {"decoders", steps}});
  EXPECT_CONTAINS(encode_error(), "the tokenizer makes ");
  for (nlohmann::json& step : steps) step = {{"type", "ByteLevel"}, {"use_regex", false}};
  change("tokenizer.json", "/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}});
  EXPECT_CONTAINS(encode_error(), "the tokenizer makes ");
}

TEST_F(TokenizerFolder, PartsAreFew) {
  copy("gpt2");
  change("tokenizer.json", "/normalizer",
         {{"type", "Sequence"}, {"normalizers", nlohmann::json(std::vector<nlohmann::json>(101, {{"type", "NFC"}}))}});
  EXPECT_NE(error().find("has more than 100 parts"), std::string::npos);
}

// Each of these tokens takes the white space around it along, and each looked through all that is left.
TEST_F(TokenizerFolder, RunsOfStrippingTokensTakeLinearTime) {
  copy("gpt2");
  const auto start = std::chrono::steady_clock::now();
  for (const bool left : {false, true}) {
    for (const bool right : {false, true}) {
      change("tokenizer.json", "/added_tokens",
             nlohmann::json::array(
                 {{{"id", 1}, {"content", " "}, {"lstrip", left}, {"rstrip", right}, {"special", true}}}));
      EXPECT_FALSE(open()->encode(std::string(1'000'000, ' ')).empty());
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST_F(TokenizerFolder, BrokenVocabularyFilesAreNamed) {
  copy("gpt2_files");
  write("merges.txt", "#version: 0.2\na b\nabc\n");
  EXPECT_EQ(error(), "merges.txt:3: expected two tokens and a space between, got 'abc'");
  write("vocab.json", "{\"a\": \"b\"}");
  EXPECT_EQ(error(), "vocab.json: 'a': expected an integer, got \"b\"");
}

TEST_F(TokenizerFolder, BrokenSentencePieceIsNamed) {
  write("tokenizer.model", "this is no model");
  EXPECT_NE(error().find("tokenizer.model: is not a SentencePiece model"), std::string::npos);
}

// transformers 5 leaves the post-processor of a tokenizer.json as it is, whatever the flags and the class say.
TEST_F(TokenizerFolder, FlagsBesideATokenizerFileMeanNothing) {
  for (const char* name : {"llama2", "llama3"}) {
    copy(name);
    const Ids usual = open()->encode("a");
    for (const char* tokenizer_class : {"PreTrainedTokenizerFast", "LlamaTokenizer"}) {
      change("tokenizer_config.json", "/tokenizer_class", tokenizer_class);
      for (const bool adds_bos : {false, true}) {
        for (const bool adds_eos : {false, true}) {
          change("tokenizer_config.json", "/add_bos_token", adds_bos);
          change("tokenizer_config.json", "/add_eos_token", adds_eos);
          EXPECT_EQ(open()->encode("a"), usual);
        }
      }
    }
    change("tokenizer.json", "/post_processor", nullptr);
    EXPECT_EQ(open()->encode("a"), open()->encode("a", false));
  }
}

// Flags decide where the files have no post-processor.
TEST_F(TokenizerFolder, FlagsOfTheConfigurationSurroundATextOfSentencePiece) {
  copy("sentencepiece");
  const Ids plain = open()->encode("a", false);
  const auto with = [&](Ids before, Ids after) {
    before.insert(before.end(), plain.begin(), plain.end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
  };
  EXPECT_EQ(open()->encode("a"), with({1}, {}));
  change("tokenizer_config.json", "/add_bos_token", false);
  EXPECT_EQ(open()->encode("a"), plain);
  change("tokenizer_config.json", "/add_eos_token", true);
  EXPECT_EQ(open()->encode("a"), with({}, {2}));
  change("tokenizer_config.json", "/add_bos_token", true);
  EXPECT_EQ(open()->encode("a"), with({1}, {2}));
  EXPECT_EQ(open()->prefix(), Ids{1});
  EXPECT_EQ(open()->suffix(), Ids{2});
}

// transformers makes added tokens of what the configuration names as special, or, where it lists no added tokens, the
// map; the tokenizers library alone would cut these.
TEST_F(TokenizerFolder, TokensNamedAsSpecialAreWhole) {
  const nlohmann::json described = {
      {"content", "<|sep|>"}, {"lstrip", true}, {"rstrip", true}, {"normalized", false}, {"single_word", false}};
  const std::vector<std::pair<const char*, nlohmann::json>> places = {
      {"/sep_token", "<|sep|>"},
      {"/foo_token", "<|sep|>"},
      {"/sep_token", described},
      {"/additional_special_tokens", {"<|sep|>"}},
      {"/extra_special_tokens", {"<|sep|>"}},
      {"/extra_special_tokens", {{"x_token", "<|sep|>"}}},
      {"/model_specific_special_tokens", {{"x", "<|sep|>"}}}};
  for (const char* name : {"llama3", "llama2"}) {
    for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
      for (const auto& [place, value] : places) {
        if (file[0] == 's' && std::string(place).starts_with("/extra")) continue;
        SCOPED_TRACE(std::string(name) + " " + file + place + " " + value.dump());
        copy(name);
        std::filesystem::remove(folder_ / "special_tokens_map.json");
        const int64_t id = open()->vocab_size();
        change("tokenizer.json", "/model/vocab/<|sep|>", id);
        EXPECT_EQ(open()->encode("a<|sep|>b", false).size(), 9U);
        change(file, place, value);
        if (file[0] == 's') {
          EXPECT_EQ(open()->encode("a<|sep|>b", false).size(), 9U) << "beside added_tokens_decoder";
          change("tokenizer_config.json", "/added_tokens_decoder", nullptr);
        }
        const auto tokenizer = open();
        const Ids ids = tokenizer->encode("a<|sep|>b", false);
        ASSERT_EQ(ids.size(), 3U);
        EXPECT_EQ(ids[1], id);
        EXPECT_TRUE(tokenizer->is_special(id));
        // The older pipeline of Llama 2 writes a space before every piece.
        const bool spaced = std::string(name) == "llama2";
        EXPECT_EQ(tokenizer->decode(ids, true), spaced ? "a b" : "ab");
        const bool strips = value.is_object() && value.contains("lstrip");
        EXPECT_EQ(tokenizer->encode("a <|sep|> b", false).size(), strips ? 3U : spaced ? 5U : 4U);
      }
    }
  }
}

TEST_F(TokenizerFolder, AddedTokensOfTheConfigurationOverride) {
  copy("gpt2");
  const int64_t size = open()->vocab_size();
  change("tokenizer_config.json", "/added_tokens_decoder",
         {{std::to_string(size), {{"content", "<new>"}, {"special", true}, {"lstrip", true}}}});
  const auto tokenizer = open();
  EXPECT_EQ(tokenizer->vocab_size(), size + 1);
  EXPECT_EQ(tokenizer->encode("a  <new>b"), (Ids{64, size, 65}));
  EXPECT_EQ(tokenizer->decode(Ids{64, size, 65}, true), "ab");
}

TEST(Tokenizer, KnowsSpecialTokensAndStops) {
  const auto llama = Tokenizer::open(family("llama3"));
  const int64_t first = *llama->token_to_id("<|begin_of_text|>");
  EXPECT_EQ(llama->special_tokens().bos, first);
  EXPECT_EQ(llama->special_tokens().eos, llama->token_to_id("<|eot_id|>"));
  EXPECT_EQ(llama->special_tokens().stops, (Ids{first + 1, first + 5, first + 6}));
  EXPECT_TRUE(llama->is_special(first));
  EXPECT_FALSE(llama->is_special(5));
  const auto qwen = Tokenizer::open(family("qwen2"));
  EXPECT_FALSE(qwen->special_tokens().bos);
  EXPECT_EQ(qwen->special_tokens().padding, qwen->token_to_id("<|endoftext|>"));
  EXPECT_FALSE(qwen->is_special(*qwen->token_to_id("<tool_call>")));
  const auto gpt = Tokenizer::open(family("gpt2_files"));
  EXPECT_EQ(gpt->special_tokens().eos, gpt->token_to_id("<|endoftext|>"));
}

TEST(Tokenizer, SpecialTokensThatAreNormalizedAreDecodedAsWritten) {
  const auto tokenizer = Tokenizer::open(family("llama2_legacy"));
  const Ids ids = tokenizer->encode("Hi");
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
  EXPECT_EQ(tokenizer->decode(ids), "<s> Hi</s>");
  EXPECT_EQ(tokenizer->decode(ids, true), "Hi");
}

TEST(Tokenizer, SentencePieceCutsAtSpecialTokens) {
  const auto tokenizer = Tokenizer::open(family("sentencepiece"));
  Ids expected = {1};
  for (const int64_t id : tokenizer->encode("a", false)) expected.push_back(id);
  expected.push_back(2);
  for (const int64_t id : tokenizer->encode("b", false)) expected.push_back(id);
  EXPECT_EQ(tokenizer->encode("a</s>b"), expected);
}

TEST_F(TokenizerFolder, SentencePieceNotLegacyAddsNoSpaceAfterSpecialTokens) {
  copy("sentencepiece");
  change("tokenizer_config.json", "/legacy", false);
  const auto tokenizer = open();
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a</s>b c", false)), "a</s>b c");
  const Ids ids = tokenizer->encode("a</s>b c", false);
  EXPECT_EQ(tokenizer->id_to_token(ids[2]), "b");
}

TEST(Tokenizer, BytesThatAreNoTextCountAsTheReplacementCharacter) {
  for (const char* name : {"gpt2", "llama2", "sentencepiece", "qwen2"}) {
    const auto tokenizer = Tokenizer::open(family(name));
    for (const std::string bad : {"a\xFF", "\xC3", "\xE4\xBD", "\xED\xA0\x80", "\xF5", "\x80\x80", "\xC0\xAF"}) {
      const std::string decoded = tokenizer->decode(tokenizer->encode(bad), true);
      EXPECT_NE(decoded.find("\xEF\xBF\xBD"), std::string::npos) << name;
    }
  }
}

// Quadratic merging would take minutes.
TEST(Tokenizer, LongWordsTakeLittleTime) {
  std::string word;
  for (int i = 0; i < 200'000; ++i) word += static_cast<char>('a' + (i * 7 + i / 3) % 26);
  const auto start = std::chrono::steady_clock::now();
  for (const char* name : {"gpt2", "llama2", "llama3", "qwen2"}) {
    const auto tokenizer = Tokenizer::open(family(name));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(word, false), true), word) << name;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(std::string(200'000, ' '), false), true).size(), 200'000U) << name;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto tokenizer = Tokenizer::open(family("llama3"));
  const nlohmann::json texts = read_golden("texts.json");
  const nlohmann::json rows = read_golden("tokenizers/llama3/golden.json")["rows"];
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) {
        wrong += tokenizer->encode(texts[i].get<std::string>()) != rows[i][0].get<Ids>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = Tokenizer::open(family("gpt2"));
  const Ids ids = tokenizer->encode("\xF0\x90\x8D\x88!");
  ASSERT_GT(ids.size(), 2U);
  StreamDecoder stream(tokenizer);
  std::string out;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    out += stream.push(ids[i]);
    EXPECT_TRUE(out.empty() || out == "\xF0\x90\x8D\x88");
  }
  EXPECT_EQ(stream.push(ids.back()), "!");
  EXPECT_EQ(stream.finish(), "");
  stream.push(ids.front());
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD") << "an unfinished character at the end";
  EXPECT_EQ(stream.push(ids.back()), "!") << "a new text begins";
}

}  // namespace
}  // namespace incontext::text
