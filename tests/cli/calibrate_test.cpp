// `incontext calibrate lexico`, and the cache that it is for.

#include <csignal>

#include "base/file.h"
#include "cli/program.h"
#include "support/errors.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using base::Json;

/// Two hardly trained models that read bytes: 3 layers, two KV heads of 16 channels.
class Calibration : public ::testing::Test {
 protected:
  static constexpr int64_t kLayers = 3, kKvHeads = 2, kHeadDim = 16;

  static void SetUpTestSuite() {
    models_ = std::make_unique<TemporaryDirectory>();
    const std::string text = write_text(*models_ / "train.txt", story(100));
    const std::string config = write_text(
        *models_ / "config.yaml",
        "task: {name: text, text: {files: [" + text +
            "], context: 256}}\n"
            "model: {width: 64, layers: 3, position: rotary, bias: false, attention: {heads: 4, kv_heads: 2}, "
            "norm: {type: rms}, mlp: {type: gated}}\n"
            "training: {steps: 10, batch_size: 4, learning_rate: 1e-2, evaluate_every: 0}\n");
    for (const char* seed : {"1", "2"}) {
      const CommandResult trained = incontext_with(
          {"train", config, "--out", (*models_ / seed).string(), "--quiet", "--set", std::string("seed=") + seed});
      ASSERT_EQ(trained.status, 0) << trained.err;
    }
  }
  static void TearDownTestSuite() { models_.reset(); }

  static std::string story(int lines) {
    std::string text;
    for (int i = 0; i < lines; ++i)
      text += "Day " + std::to_string(i * i) + ": the dog saw " + std::to_string(i) + " balls.\n";
    return text;
  }
  static std::string model(const char* seed = "1") { return (*models_ / seed).string(); }
  std::string path(const std::string& name) const { return (place_ / name).string(); }
  std::vector<std::string> calibrate(const std::vector<std::string>& more,
                                     const std::string& out = "dictionary") const {
    std::vector<std::string> all = {"calibrate", "lexico", model(), "--out", path(out)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::vector<std::string> small() const {
    return {"--text", path("story.txt"), "--atoms", "64", "--sparsity", "4", "--steps", "5", "--json"};
  }
  void refuses(std::vector<std::string> arguments, const std::vector<std::string>& words) const {
    arguments.emplace_back("--quiet");
    expect_one_line_error(incontext_with(arguments), words);
    EXPECT_FALSE(fs::exists(place_ / "dictionary"));
    EXPECT_FALSE(fs::exists(place_ / "dictionary.partial")) << "nothing was begun";
  }

  TemporaryDirectory place_;
  std::string text_ = write_text(place_ / "story.txt", story(60));

 private:
  inline static std::unique_ptr<TemporaryDirectory> models_;
};

TEST_F(Calibration, MakesADictionaryThatTheModelAnswersWith) {
  const CommandResult result = incontext_with(calibrate(small()));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_CONTAINS(result.err, "calibrate lexico");
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["finished"], true);
  EXPECT_EQ(json["out"], path("dictionary"));
  EXPECT_EQ(json["resumed_layers"], 0);
  EXPECT_EQ(json["sparsity"], 4);
  EXPECT_GE(json["tokens"].get<int64_t>(), static_cast<int64_t>(story(60).size())) << "a token for each byte";
  EXPECT_EQ(json["bytes"], kLayers * 2 * (64 * kHeadDim * 2 + kKvHeads * kHeadDim * 4));
  ASSERT_EQ(json["layers"].size(), 3U);
  EXPECT_LT(json["key_error"].get<double>(), json["random_key_error"].get<double>());
  EXPECT_LT(json["value_error"].get<double>(), json["random_value_error"].get<double>());

  const std::string policy = "lexico:dictionary=" + path("dictionary") + ",sparsity=4,tail=16";
  std::vector<std::string> generate = {"generate",     model(), "--prompt", story(7).substr(0, 200),
                                       "--max-tokens", "20",    "--json"};
  const CommandResult full = incontext_with(generate);
  generate.insert(generate.end(), {"--cache", policy});
  const CommandResult answer = incontext_with(generate);
  ASSERT_EQ(answer.status, 0) << answer.err;
  const Json answered = Json::parse(answer.out);
  EXPECT_EQ(answered["tokens"].size(), 20U);
  EXPECT_LT(answered["cache_bytes"].get<int64_t>(), Json::parse(full.out)["cache_bytes"].get<int64_t>());
  // Another model's dictionary is not taken.
  generate[1] = model("2");
  generate.emplace_back("--quiet");
  expect_one_line_error(incontext_with(generate), {path("dictionary"), "fitted to another model"});

  // For people: what was done and how to go on.
  std::vector<std::string> told = calibrate(small(), "again");
  told.back() = "--quiet";
  const CommandResult words = incontext_with(told);
  ASSERT_EQ(words.status, 0) << words.err;
  EXPECT_EQ(words.err, "");
  EXPECT_CONTAINS(words.out, path("again") + ": 3 layers, 64 atoms each for keys and values");
  EXPECT_CONTAINS(words.out, "--cache lexico:dictionary=" + path("again"));
  EXPECT_EQ(base::read_file(path("again")), base::read_file(path("dictionary"))) << "the same command, the same bytes";
}

TEST_F(Calibration, FlagsAndSetBothApply) {
  const CommandResult result =
      incontext_with(calibrate({"--set", "sparsity=2", "--atoms", "32", "--set", "means=false", "--text", text_,
                                "--tokens", "300", "--steps", "2", "--json", "--quiet"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["sparsity"], 2);
  EXPECT_EQ(json["tokens"], 300);
  EXPECT_EQ(json["bytes"], kLayers * 2 * 32 * kHeadDim * 2);
  const CommandResult options = incontext_with({"calibrate", "lexico", "--list-options"});
  EXPECT_EQ(options.status, 0);
  EXPECT_CONTAINS(options.out, "learning_rate");
  EXPECT_CONTAINS(incontext_with({"calibrate", "lexico", "--help"}).out, "Example:");
}

TEST_F(Calibration, ASignalStopsItAndTheSameCommandGoesOn) {
  const std::vector<std::string> more = {"--text", text_,   "--atoms",  "256",   "--sparsity",
                                         "8",      "--set", "steps=60", "--json"};
  const fs::path partial = path("dictionary.partial");
  const CommandResult cut =
      incontext_with(calibrate(more),
                     {.signal_when = [&](const std::string&,
                                         const std::string&) { return fs::exists(partial / "layer-000.safetensors"); },
                      .signal = SIGTERM});
  ASSERT_TRUE(cut.signalled) << cut.err;
  EXPECT_EQ(cut.status, 128 + SIGTERM);
  EXPECT_CONTAINS(cut.err, "the same command goes on");
  EXPECT_EQ(Json::parse(cut.out)["finished"], false);
  EXPECT_FALSE(fs::exists(path("dictionary")));
  // Another command's layers are not mixed with these.
  std::vector<std::string> other = calibrate(more);
  other.insert(other.end(), {"--set", "seed=9", "--quiet"});
  expect_one_line_error(incontext_with(other), {"dictionary.partial", "another model, text or options"});
  const CommandResult rest = incontext_with(calibrate(more));
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_GE(Json::parse(rest.out)["resumed_layers"].get<int>(), 1);
  EXPECT_FALSE(fs::exists(partial));
  ASSERT_EQ(incontext_with(calibrate(more, "whole")).status, 0);
  EXPECT_EQ(base::read_file(path("dictionary")), base::read_file(path("whole")));
}

TEST_F(Calibration, ErrorsAreOneLine) {
  const std::string empty = write_text(place_ / "empty.txt", ""), few = write_text(place_ / "few.txt", "Once.");
  refuses(calibrate({}), {"expected --text FILE"});
  refuses({"calibrate", "lexico", "--text", text_, "--out", path("dictionary")}, {"expected a MODEL"});
  refuses({"calibrate", "lexico", model(), "--text", text_}, {"expected --out FILE"});
  refuses(calibrate({"--text", path("none.txt")}), {"none.txt"});
  refuses(calibrate({"--text", empty}), {"empty.txt"});
  refuses(calibrate({"--text", few, "--atoms", "64"}),
          {"tokens; 64 atoms need at least 128", "more text, or fewer atoms"});
  refuses(calibrate({"--text", text_, "--atoms", "5000"}), {"atoms", "4096", "5000"});
  refuses(calibrate({"--text", text_, "--atoms", "many"}), {"atoms", "many"});
  refuses(calibrate({"--text", text_, "--atoms", "64", "--sparsity", "17"}), {"sparsity", "at most 16", "17"});
  refuses(calibrate({"--text", text_, "--set", "atom=5"}), {"atom", "did you mean 'atoms'?"});
  refuses(calibrate({"--text", text_, "--set", "update=sgd"}), {"update", "sgd"});
  refuses({"calibrate", "lexico", path("no-model"), "--text", text_, "--out", path("dictionary")}, {"no-model"});
  refuses({"calibrate", "lexico", model(), "--text", text_, "--atoms", "64", "--out", path("missing/file")},
          {path("missing/file"), "there is no folder"});
  EXPECT_FALSE(fs::exists(place_ / "missing"));
  refuses({"calibrate", "lexico", model(), "--text", text_, "--atoms", "64", "--out", place_.path().string()},
          {place_.path().string(), "is a folder"});
  refuses({"calibrate"}, {"--help"});
}

}  // namespace
}  // namespace incontext::testing
