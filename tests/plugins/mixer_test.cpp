// A mixer that lives outside of src: what adding one takes is this file's first half.

#include <gtest/gtest.h>

#include "base/error.h"
#include "decode/engine.h"
#include "models/language_folder.h"
#include "models/language_model.h"
#include "models/layers/mixer.h"
#include "ops/linear.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "train/trainer.h"

namespace incontext::models {
namespace {

using torch::Tensor;

/// A decayed running mean: m_t = d m_{t-1} + (1 - d) V x_t, and O m_t goes into the residual stream.
class RunningMean : public Mixer {
 public:
  explicit RunningMean(const MixerBuild& build)
      : layer_(build.layer), width_(build.options.width), decay_(std::stod(build.spec.values.at("decay"))) {
    const Init init{Init::Kind::normal, build.options.init_std};
    value_ = build.parameters.add_linear(build.prefix + "running_mean.value", width_, width_, init, false);
    out_ = build.parameters.add_linear(build.prefix + "running_mean.out", width_, width_, init, false);
  }

  cache::LayerState initial_state() const override { return {{{"mean", torch::zeros({width_})}}}; }

  Tensor forward(const MixerInput& in) const override {
    const Tensor values = ops::linear(in.settings, in.x.normed, value_);
    Tensor mixed;
    if (in.step.ragged()) {
      std::vector<Tensor> rows;
      int64_t first = 0;
      for (const SequenceSlice& slice : in.step.sequences) {
        Tensor& mean = slice.state->layers[static_cast<size_t>(layer_)].tensors.at("mean");
        for (int64_t i = 0; i < slice.count; ++i) {
          mean = next(mean, values[first + i]);
          rows.push_back(mean);
        }
        first += slice.count;
      }
      mixed = torch::stack(rows);
    } else {
      Tensor mean = torch::zeros({values.size(0), width_}, values.options());
      std::vector<Tensor> columns;
      for (int64_t t = 0; t < values.size(1); ++t) {
        mean = next(mean, values.select(1, t));
        if (t >= in.reads.first && (t - in.reads.first) % in.reads.every == 0) columns.push_back(mean);
      }
      mixed = torch::stack(columns, 1);
    }
    return ops::linear(in.settings, mixed, out_, in.x.residual);
  }

 private:
  Tensor next(const Tensor& mean, const Tensor& value) const { return mean * decay_ + value * (1 - decay_); }

  int64_t layer_, width_;
  double decay_;
  ops::Weight value_, out_;
};

std::unique_ptr<Mixer> make_running_mean(const MixerBuild& build) {
  for (const auto& [name, value] : build.spec.values) {
    base::check(name == "decay", "model.mixers: running_mean: unknown option '{}'; known: decay", name);
  }
  return std::make_unique<RunningMean>(build);
}

const bool kMixerRegistered = [] {
  mixers().add({"running_mean", "a decayed running mean; decay=NUMBER", make_running_mean});
  return true;
}();

// The second half: it does all that a mixer of src does.

DecoderOptions options_with(base::OneOrMore<std::string> mixers) {
  DecoderOptions options;
  options.width = 32;
  options.layers = 3;
  options.attention.heads = 4;
  options.max_positions = 700;
  options.mlp.type = MlpType::gelu;
  options.init_std = 0.2;
  options.mixers = std::move(mixers);
  return options;
}

class MixerPlugin : public ::testing::TestWithParam<base::OneOrMore<std::string>> {
 protected:
  MixerPlugin() {
    DecoderOptions options = options_with(GetParam());
    options.tokens.vocabulary = 60;
    save_language_folder(Decoder(options, /*input_dims=*/0, /*seed=*/4, torch::kCPU), folder_.path(),
                         {.family = "incontext"});
    model_ = std::make_unique<LanguageModel>(folder_.path());
    for (int64_t i = 0; i < 40; ++i) prompt_.push_back((7 * i + i * i) % 60);
  }

  std::unique_ptr<cache::SequenceState> new_sequence() const {
    return model_->decoder().new_sequence(*cache::open_kind(cache::parse_policy("full:f32"), model_->cached_model()),
                                          100);
  }

  Tensor logits(cache::SequenceState& state, const std::vector<int64_t>& tokens) const {
    Step step;
    step.sequences = {{&state, static_cast<int64_t>(tokens.size())}};
    std::vector<int64_t> all(tokens.size());
    std::iota(all.begin(), all.end(), 0);
    return model_->logits(tokens, step, all);
  }

  struct Outcome {
    std::vector<int64_t> tokens;
    std::vector<double> logprobs;
    bool operator==(const Outcome&) const = default;
  };
  static void submit(decode::Engine& engine, const std::vector<int64_t>& prompt, Outcome& outcome) {
    decode::GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = 12;
    request.top_logprobs = 0;
    request.sampling.temperature = 0;
    engine.submit(std::move(request), {.on_token = [&](const decode::Choice& choice) {
                    outcome.tokens.push_back(choice.token);
                    outcome.logprobs.push_back(choice.logprob);
                    return true;
                  }});
  }
  Outcome run(decode::Engine& engine, const std::vector<int64_t>& prompt) const {
    Outcome outcome;
    submit(engine, prompt, outcome);
    engine.finish();
    return outcome;
  }

  testing::TemporaryDirectory folder_;
  std::unique_ptr<LanguageModel> model_;
  std::vector<int64_t> prompt_;
};

TEST_P(MixerPlugin, TokenByTokenHasTheBitsOfTheWholePrompt) {
  const auto whole_state = new_sequence();
  const Tensor whole = logits(*whole_state, prompt_);
  for (const size_t part : {size_t{1}, size_t{7}}) {
    const auto state = new_sequence();
    std::vector<Tensor> rows;
    for (size_t first = 0; first < prompt_.size(); first += part) {
      const size_t last = std::min(first + part, prompt_.size());
      rows.push_back(logits(*state, {prompt_.begin() + static_cast<std::ptrdiff_t>(first),
                                     prompt_.begin() + static_cast<std::ptrdiff_t>(last)}));
    }
    EXPECT_TRUE(torch::equal(torch::cat(rows), whole)) << "parts of " << part;
  }
}

TEST_P(MixerPlugin, RaggedStepsAreWholeSequences) {
  const auto state = new_sequence();
  const Tensor ragged = logits(*state, prompt_);
  torch::NoGradGuard no_gradients;
  const Decoder& decoder = model_->decoder();
  const Tensor ids = torch::tensor(prompt_, torch::kInt64).unsqueeze(0);
  const Tensor whole =
      decoder.head(decoder.final_norm(decoder.run_layers(decoder.embed(ids), 0, decoder.options().layers)))[0];
  EXPECT_TENSORS_CLOSE(ragged, whole, (testing::Tolerance{.absolute = 2e-4, .relative = 2e-4}));
}

TEST_P(MixerPlugin, BatchesBesideOthers) {
  decode::Engine alone_engine(*model_, {.prefix_memory = 0});
  const Outcome alone = run(alone_engine, prompt_);
  EXPECT_EQ(alone.tokens.size(), 12U);
  decode::Engine engine(*model_, {.prompt_part = 9, .prompt_part_while_decoding = 5, .prefix_memory = 0});
  std::vector<Outcome> outcomes(4);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const std::vector<int64_t> other(prompt_.begin() + static_cast<std::ptrdiff_t>(i), prompt_.end());
    submit(engine, i == 2 ? prompt_ : other, outcomes[i]);
  }
  engine.finish();
  EXPECT_EQ(outcomes[2], alone);
}

TEST_P(MixerPlugin, PrefixesAreReusedFromSnapshots) {
  decode::Engine fresh(*model_, {.prefix_memory = 0});
  decode::Engine engine(*model_, {});
  const Outcome first = run(engine, prompt_);
  EXPECT_EQ(engine.status().reused_tokens, 0);
  // The same prompt again: all but its last token is remembered.
  EXPECT_EQ(run(engine, prompt_), first);
  EXPECT_EQ(engine.status().reused_tokens, 39);
  // The next turn of a conversation: all that was said before.
  std::vector<int64_t> next = prompt_;
  next.insert(next.end(), first.tokens.begin(), first.tokens.end());
  next.insert(next.end(), {1, 2, 3});
  EXPECT_EQ(run(engine, next), run(fresh, next));
  EXPECT_EQ(engine.status().reused_tokens, 39 + 51);
  // A prompt that parts from it in the middle: what a recurrent state has taken in cannot be taken out.
  std::vector<int64_t> other = prompt_;
  other[30] = (other[30] + 1) % 60;
  EXPECT_EQ(run(engine, other), run(fresh, other));
  EXPECT_EQ(engine.status().reused_tokens, 39 + 51);
  // Long prompts leave snapshots on the way.
  std::vector<int64_t> lengthy;
  for (int64_t i = 0; i < 600; ++i) lengthy.push_back((5 * i + i * i * i) % 60);
  run(engine, lengthy);
  lengthy[550] = (lengthy[550] + 1) % 60;
  const int64_t before = engine.status().reused_tokens;
  EXPECT_EQ(run(engine, lengthy), run(fresh, lengthy));
  EXPECT_EQ(engine.status().reused_tokens, before + 512);
}

INSTANTIATE_TEST_SUITE_P(Patterns, MixerPlugin,
                         ::testing::Values(base::OneOrMore<std::string>{"running_mean:decay=0.9"},
                                           base::OneOrMore<std::string>{"running_mean:decay=0.5", "attention"}),
                         [](const auto& tested) { return tested.param.size() == 1 ? "alone" : "beside_attention"; });

TEST(MixerPluginTraining, LearnsBesideAttention) {
  train::RunOptions options;
  options.model = options_with({"running_mean:decay=0.9", "attention"});
  options.model.max_positions = 64;
  options.task.dims = 1;
  options.training.batch_size = 32;
  options.training.learning_rate = 3e-3;
  train::Trainer trainer(options, torch::kCPU, {});
  double first = 0, last = 0;
  for (int step = 0; step < 220; ++step) {
    const double loss = trainer.step().loss;
    (step < 20 ? first : last) += step < 20 || step >= 200 ? loss / 20 : 0;
  }
  EXPECT_LT(last, 0.8 * first);
  for (const NamedTensor& parameter : trainer.model().parameters()) {
    EXPECT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
  }
}

TEST(MixerPluginOptions, UnknownOnesAreNamed) {
  const auto problem = [](const char* mixer) {
    try {
      Decoder(options_with({mixer}), 2, 0, torch::kCPU);
    } catch (const base::Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(problem("running_mean:speed=2").find("unknown option 'speed'"), std::string::npos);
  EXPECT_NE(problem("runing_mean").find("did you mean 'running_mean'?"), std::string::npos);
  EXPECT_NE(problem("attention:heads=2").find("attention has no options"), std::string::npos);
}

}  // namespace
}  // namespace incontext::models
