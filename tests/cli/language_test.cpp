// Language models from the command line.

#include "cli/program.h"
#include "support/errors.h"
#include "support/shared_model.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using base::Json;

class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(stories())) GTEST_SKIP() << without_stories();
  }
  Json generate(std::vector<std::string> arguments) const {
    std::vector<std::string> all = {"generate", stories().string(), "--json"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const CommandResult result = incontext_with(all);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out);
  }
};

TEST_F(Stories, AreToldTheSameWayEveryTime) {
  const Json first = generate({"--prompt", "Once upon a time", "--max-tokens", "80"});
  EXPECT_EQ(first["text"].get<std::string>().find(", there was a little girl named Lily."), 0U) << first.dump();
  EXPECT_EQ(first["tokens"].size(), 80U);
  EXPECT_EQ(first["finish_reason"], "length");
  EXPECT_GT(first["cache_bytes"].get<int64_t>(), 0);
  EXPECT_GT(first["seconds"]["decode"].get<double>(), 0);
  for (const char* threads : {"1", "2", "3"}) {
    EXPECT_EQ(generate({"--prompt", "Once upon a time", "--max-tokens", "80", "--threads", threads})["tokens"],
              first["tokens"]);
  }
}

// Its decoder drops the space that begins a text, and a continuation begins none.
TEST_F(Stories, GoOnWithASpace) {
  const Json told = generate({"--prompt", "Once upon", "--max-tokens", "3"});
  EXPECT_EQ(told["text"].get<std::string>().find(" a time"), 0U) << told.dump();
}

TEST_F(Stories, GoOnFromASavedCache) {
  const TemporaryDirectory place;
  const std::string file = (place / "cache").string(),
                    prompt = "Once upon a time, there was a little girl named Lily. She had a red ball.";
  const Json first = generate({"--prompt", prompt, "--max-tokens", "20", "--save-cache", file});
  EXPECT_EQ(first["reused_tokens"], 0);
  // The same prompt again, and one that goes on from the answer: what was computed is not computed again, and the
  // answer is the same.
  const Json again = generate({"--prompt", prompt, "--max-tokens", "20", "--load-cache", file});
  EXPECT_EQ(again["text"], first["text"]);
  EXPECT_EQ(again["reused_tokens"].get<int64_t>(), first["prompt_tokens"].get<int64_t>() - 1);
  const std::string longer = prompt + first["text"].get<std::string>() + " and then";
  EXPECT_EQ(generate({"--prompt", longer, "--max-tokens", "20", "--load-cache", file})["text"],
            generate({"--prompt", longer, "--max-tokens", "20"})["text"]);
  const auto refusal = [&](std::vector<std::string> arguments) {
    std::vector<std::string> all = {"generate", stories().string(), "--prompt", prompt, "--load-cache",
                                    file,       "--quiet"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const CommandResult result = incontext_with(all);
    EXPECT_NE(result.status, 0);
    return result.err;
  };
  EXPECT_CONTAINS(refusal({"--cache", "full:f32"}), "expected policy 'full:f32', got 'full'");
  EXPECT_CONTAINS(refusal({"--precision", "bf16"}), "expected fingerprint");
  fs::resize_file(file, fs::file_size(file) / 2);
  EXPECT_CONTAINS(refusal({}), file);
}

TEST_F(Stories, FollowSeedTemperatureAndStops) {
  const std::vector<std::string> sampled = {"--prompt",     "The dog", "--temperature", "1",
                                            "--max-tokens", "40",      "--seed"};
  const auto with_seed = [&](const char* seed) {
    std::vector<std::string> arguments = sampled;
    arguments.emplace_back(seed);
    return generate(arguments)["text"].get<std::string>();
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
  const Json stopped = generate({"--prompt", "Once upon a time", "--stop", "girl"});
  EXPECT_EQ(stopped["text"], ", there was a little ");
  EXPECT_EQ(stopped["finish_reason"], "stop");
}

TEST_F(Stories, TokensGoThereAndBack) {
  const CommandResult encoded =
      incontext_with({"tokenize", stories().string(), "--text", "Once upon a time", "--json"});
  ASSERT_EQ(encoded.status, 0) << encoded.err;
  EXPECT_EQ(Json::parse(encoded.out)["tokens"], (Json{1, 403, 407, 261, 378}));
  const CommandResult decoded = incontext_with(
      {"tokenize", stories().string(), "--decode", "--skip-special-tokens", "--text", "1 403 407 261 378"});
  EXPECT_EQ(decoded.out, "Once upon a time\n");
}

TEST_F(Stories, SayWhatEndsATurn) {
  const CommandResult loud = incontext_with({"generate", stories().string(), "--prompt", "Once", "--max-tokens", "1"});
  EXPECT_NE(loud.err.find("note: a turn ends at "), std::string::npos) << loud.err;
  EXPECT_NE(loud.err.find("</s> (2)"), std::string::npos) << loud.err;
  const CommandResult quiet =
      incontext_with({"generate", stories().string(), "--prompt", "Once", "--max-tokens", "1", "--quiet"});
  EXPECT_EQ(quiet.err, "");
}

TEST_F(Stories, ChatKnowsItsCommandsAndNoOthers) {
  const TemporaryDirectory place;
  fs::copy(stories(), place / "story");
  fs::permissions(place / "story", fs::perms::owner_all);
  write_text(place / "story/chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  const auto chat = [&](const std::string& lines) {
    const std::string input = write_text(place / "lines", lines);
    return run_command(
        {"sh", "-c", "exec \"$0\" chat \"$1\" --max-tokens 4 < \"$2\"", program(), (place / "story").string(), input});
  };
  const std::string help = "/clear  begin again";
  for (const char* line : {"/home/user/story.txt", "/ not a command", "// a comment", "/clearly", "/exit now", "/?"}) {
    const CommandResult result = chat(std::string(line) + "\n/stats\n");
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out.find(help), std::string::npos) << line << result.out;
    EXPECT_EQ(result.out.find("no answer yet"), std::string::npos) << line << result.out;
    EXPECT_NE(result.out.find("4 tokens in"), std::string::npos) << line << result.out;
  }
  EXPECT_NE(chat("/help\n").out.find(help), std::string::npos);
  EXPECT_EQ(chat("/stats\n").out, "no answer yet\n");
  EXPECT_EQ(chat("/clear\n/system Be brief.\n/system\n/stats\n").out, "no answer yet\n");
  EXPECT_EQ(chat(" /exit \n/stats\n").out, "");
  EXPECT_EQ(chat("/quit\nHello\n").out, "");
}

TEST_F(Stories, BadCommandLines) {
  const auto fails = [&](std::vector<std::string> arguments, const std::vector<std::string>& words) {
    arguments.insert(arguments.begin(), {"generate", stories().string()});
    expect_one_line_error(incontext_with(arguments), words);
  };
  fails({"--prompt", "x", "--cache", "ful"}, {"cache policy 'ful'", "did you mean 'full'?"});
  fails({"--prompt", "x", "--file", "y"}, {"--prompt or --file"});
  fails({"--prompt", "x", "--top-p", "2"}, {"--top-p"});
  fails({"--prompt", "x", "--chat"}, {"no chat template"});
  expect_one_line_error(incontext_with({"generate", "no/such-model", "--prompt", "x"}),
                        {"no/such-model", "--download"});
  expect_one_line_error(incontext_with({"tokenize", stories().string(), "--decode", "--text", "1 x"}),
                        {"expected token ids", "x"});
}

TEST_F(Stories, ABenchmarkTellsItsLimit) {
  const CommandResult result =
      incontext_with({"bench", "decode", stories().string(), "--depth", "0,64", "--prefill", "64", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  ASSERT_EQ(json["results"].size(), 2U);
  EXPECT_GT(json["read_bandwidth"].get<double>(), 1e8);
  EXPECT_GT(json["results"][1]["bytes_per_token"].get<int64_t>(), json["results"][0]["bytes_per_token"].get<int64_t>());
  EXPECT_GT(json["results"][0]["share_of_limit"].get<double>(), 0);
}

}  // namespace
}  // namespace incontext::testing
