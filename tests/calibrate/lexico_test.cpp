#include "calibrate/lexico.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "base/file.h"
#include "cache/kinds/lexico_dictionary.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"

namespace incontext::calibrate {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

/// Writes of more than so many bytes to a file fail as on a full disk, until the end of the scope.
class SmallDisk {
 public:
  explicit SmallDisk(uint64_t bytes) {
    before_signal_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit { bytes, before_.rlim_max };
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_signal_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  struct rlimit before_ {};
  void (*before_signal_)(int) = nullptr;
};

/// A random model of two layers: two KV heads of 12 channels, four query heads.
class CalibrateLexico : public ::testing::Test {
 protected:
  static fs::path folder(const std::string& name) {
    return fs::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / name;
  }
  CalibrateLexico() {
    for (int64_t i = 0; i < 700; ++i) tokens_.push_back((i * i + 7 * i + i / 13) % 96);
  }

  fs::path out(const std::string& name) const { return place_ / name; }
  fs::path partial(const std::string& name) const { return place_ / (name + ".partial"); }
  /// Asked to stop as soon as a layer is done.
  CalibrationEvents one_layer(const std::string& name) const {
    return {.stopped = [this, name] { return fs::exists(partial(name) / "layer-000.safetensors"); }};
  }
  LexicoCalibrationReport run(const std::string& name, const CalibrationEvents& events = {}) const {
    return calibrate_lexico(model_, tokens_, options_, out(name), events);
  }
  std::string refusal(const std::string& name = "out") const {
    const std::string message = error_of([&] { run(name); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }

  testing::TemporaryDirectory place_;
  models::LanguageModel model_{folder("qwen3")};
  std::vector<int64_t> tokens_;
  LexicoCalibrationOptions options_{.atoms = 48, .sparsity = 3, .context = 64, .steps = 12, .batch = 256};
};

TEST_F(CalibrateLexico, WritesADictionaryThatTheModelTakes) {
  std::vector<double> shares;
  const LexicoCalibrationReport report = run("out", {.progress = [&](double done, const std::string& what) {
                                               if (!shares.empty()) {
                                                 EXPECT_GE(done, shares.back()) << what;
                                               }
                                               shares.push_back(done);
                                             }});
  EXPECT_TRUE(report.finished);
  EXPECT_EQ(report.tokens, 700);
  EXPECT_EQ(report.resumed_layers, 0);
  ASSERT_EQ(report.layers.size(), 2U);
  EXPECT_EQ(shares.back(), 1);
  EXPECT_FALSE(fs::exists(partial("out")));
  for (const LexicoLayerReport& layer : report.layers) {
    EXPECT_GT(layer.key_error, 0);
    EXPECT_LT(layer.key_error, layer.random_key_error);
    EXPECT_LT(layer.value_error, layer.random_value_error);
  }
  const cache::LexicoDictionary dictionary = cache::read_lexico_dictionary(out("out"), model_.cached_model());
  EXPECT_EQ(dictionary.bytes(), report.bytes);
  EXPECT_EQ(dictionary.model, model_.weights_fingerprint());
  EXPECT_CONTAINS(dictionary.settings.at("options"), "\"atoms\":48");
  EXPECT_EQ(dictionary.settings.at("tokens"), "700");
  EXPECT_TRUE(dictionary.keys[1].mean.defined());
  EXPECT_FALSE(dictionary.keys[1].weights.defined());
  const auto kind = cache::open_kind(cache::parse_policy("lexico:dictionary=" + out("out").string() + ",sparsity=3"),
                                     model_.cached_model());
  EXPECT_GT(kind->fixed_bytes(), report.bytes);
  EXPECT_CONTAINS(error_of([&] {
                    cache::read_lexico_dictionary(out("out"), models::LanguageModel(folder("mistral")).cached_model());
                  }),
                  "fitted to a");
}

TEST_F(CalibrateLexico, OptionsAreFollowed) {
  options_.means = false;
  options_.metric = "queries";
  options_.update = "adam";
  options_.tokens = 300;
  const LexicoCalibrationReport report = run("other");
  EXPECT_EQ(report.tokens, 300);
  const cache::LexicoDictionary dictionary = cache::read_lexico_dictionary(out("other"), model_.cached_model());
  for (size_t layer = 0; layer < 2; ++layer) {
    EXPECT_FALSE(dictionary.keys[layer].mean.defined());
    EXPECT_TRUE(dictionary.keys[layer].weights.defined());
    EXPECT_GE(dictionary.keys[layer].weights.min().item<float>(), 0.1F);
    EXPECT_FALSE(dictionary.values[layer].weights.defined()) << "no query looks at values";
  }
}

TEST_F(CalibrateLexico, GoesOnWhereItWasStopped) {
  const LexicoCalibrationReport whole = run("whole");
  const LexicoCalibrationReport stopped = run("cut", one_layer("cut"));
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.layers.size(), 1U);
  EXPECT_FALSE(fs::exists(out("cut")));
  const LexicoCalibrationReport rest = run("cut");
  EXPECT_TRUE(rest.finished);
  EXPECT_EQ(rest.resumed_layers, 1);
  EXPECT_EQ(base::read_file(out("cut")), base::read_file(out("whole")));
  EXPECT_FALSE(fs::exists(partial("cut")));
  for (size_t layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(rest.layers[layer].key_error, whole.layers[layer].key_error);
    EXPECT_EQ(rest.layers[layer].random_value_error, whole.layers[layer].random_value_error);
  }
  // While the text is read, and within a layer, where it begins anew.
  for (const double share : {0.05, 0.3}) {
    double reached = 0;
    EXPECT_FALSE(run("early", {.progress = [&](double done, const std::string&) { reached = done; },
                               .stopped = [&] { return reached > share; }})
                     .finished);
    EXPECT_TRUE(run("early").finished);
    EXPECT_EQ(base::read_file(out("early")), base::read_file(out("whole")));
  }
}

TEST_F(CalibrateLexico, LayersOfAnotherRunAreRefused) {
  run("out", one_layer("out"));
  const std::string message = partial("out").string() +
                              ": holds layers of a calibration with another model, text or options; remove it, or "
                              "choose another --out";
  const LexicoCalibrationOptions before = options_;
  options_.steps = 13;
  EXPECT_EQ(refusal(), message);
  options_ = before;
  const int64_t token = std::exchange(tokens_[5], 1);
  EXPECT_EQ(refusal(), message);
  tokens_[5] = token;
  const models::LanguageModel other(folder("mistral"));
  EXPECT_EQ(error_of([&] { calibrate_lexico(other, tokens_, options_, out("out")); }), message);
  // Refused runs have spoilt nothing.
  EXPECT_EQ(run("out").resumed_layers, 1);
  // One that is damaged.
  run("bad", one_layer("bad"));
  const fs::path layer = partial("bad") / "layer-000.safetensors";
  fs::resize_file(layer, fs::file_size(layer) - 10);
  EXPECT_CONTAINS(refusal("bad"), layer.string());
}

TEST_F(CalibrateLexico, WhatCannotBeIsRefusedBeforeTheWork) {
  options_.sparsity = 13;
  EXPECT_EQ(refusal(), "sparsity: expected at most 12, the head_dim or the number of atoms, got 13");
  options_.sparsity = 9;
  options_.atoms = 8;
  EXPECT_EQ(refusal(), "sparsity: expected at most 8, the head_dim or the number of atoms, got 9");
  options_.atoms = 400;
  EXPECT_EQ(
      refusal(),
      "the text has 700 tokens; 400 atoms need at least 800, four vectors for each (KV heads: 2): give more text, "
      "or fewer atoms");
  options_.atoms = 48;
  options_.tokens = 95;
  EXPECT_CONTAINS(refusal(), "48 atoms need at least 96");
  options_.tokens = 700;
  tokens_.clear();
  EXPECT_CONTAINS(refusal(), "the text has 0 tokens");
  tokens_.assign(700, 3);
  EXPECT_CONTAINS(refusal("missing/out"), "missing");
  EXPECT_FALSE(fs::exists(out("missing")));
  fs::create_directory(out("folder"));
  EXPECT_CONTAINS(refusal("folder"), out("folder").string());
  EXPECT_TRUE(fs::is_empty(out("folder")));
  EXPECT_FALSE(fs::exists(partial("folder"))) << "nothing is left behind";
  EXPECT_FALSE(fs::exists(partial("out")));
}

TEST_F(CalibrateLexico, AFullDiskLosesNothing) {
  run("whole");
  run("out", one_layer("out"));
  const auto of_layer = fs::file_size(partial("out") / "layer-000.safetensors");
  const auto refused = [&](uint64_t bytes) {
    const SmallDisk disk(bytes);
    return refusal();
  };
  // Room for layers, but not for the dictionary.
  const std::string message = refused(of_layer + 100);
  EXPECT_CONTAINS(message, out("out").string());
  EXPECT_CONTAINS(message, "cannot write");
  EXPECT_FALSE(fs::exists(out("out")));
  EXPECT_TRUE(fs::exists(partial("out") / "layer-001.safetensors"));
  // No room for a layer: those that are done stay.
  fs::remove(partial("out") / "layer-001.safetensors");
  EXPECT_CONTAINS(refused(1000), "layer-001.safetensors");
  EXPECT_FALSE(fs::exists(partial("out") / "layer-001.safetensors"));
  const LexicoCalibrationReport rest = run("out");
  EXPECT_EQ(rest.resumed_layers, 1);
  EXPECT_EQ(base::read_file(out("out")), base::read_file(out("whole")));
}

}  // namespace
}  // namespace incontext::calibrate
