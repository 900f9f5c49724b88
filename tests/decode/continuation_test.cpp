#include "decode/continuation.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "models/language_folder.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "text/byte_tokenizer.h"

namespace incontext::decode {
namespace {

// A model that reads bytes, whose weights are random.
class ContinuationTest : public ::testing::Test {
 protected:
  ContinuationTest() {
    models::DecoderOptions options;
    options.width = 16;
    options.layers = 1;
    options.attention.heads = 2;
    options.norm.type = models::NormType::rms;
    options.position = models::PositionType::rotary;
    options.mlp.type = models::MlpType::gated;
    options.bias = false;
    options.init_std = 0.5;
    options.tokens.vocabulary = 257;
    options.max_positions = 32;
    models::save_language_folder({options, 0, /*seed=*/5, torch::kCPU}, place_.path(), {});
    base::write_file_atomic(place_ / "tokenizer.json", text::byte_tokenizer_json());
    base::write_file_atomic(place_ / "tokenizer_config.json", text::byte_tokenizer_config_json());
    opened_ = open_model(place_.path());
  }

  testing::TemporaryDirectory place_;
  OpenedModel opened_;
};

TEST_F(ContinuationTest, OneCallIsTheEnginesContinuation) {
  const Continuation whole = continue_text(opened_, "Once upon", {.max_tokens = 12});
  GenerationRequest request;
  request.prompt = opened_.tokenizer->encode("Once upon");
  request.max_tokens = 12;
  request.sampling = opened_.defaults.sampling;
  request.stop_ids = opened_.defaults.stop_ids;
  Engine engine(*opened_.model, {.sampled_tokens = opened_.sampled_tokens()});
  const Continuation expected = run_continuation(engine, opened_, request);
  EXPECT_EQ(whole.tokens, expected.tokens);
  EXPECT_EQ(whole.text, expected.text);
  EXPECT_EQ(whole.finish_reason, "length");
  EXPECT_EQ(whole.tokens.size(), 12u);
  EXPECT_GT(whole.cache_bytes, 0);
}

TEST_F(ContinuationTest, ItEndsAtTheContextsEndAndWhenItIsCancelled) {
  std::string streamed;
  const Continuation full = continue_text(opened_, "Once upon", {.max_tokens = 1000},
                                          {.on_text = [&](const std::string& text) { streamed += text; }});
  EXPECT_EQ(full.tokens.size(), 32u - 9u);
  EXPECT_EQ(streamed, full.text);
  int asked = 0;
  const Continuation cut =
      continue_text(opened_, "Once upon", {.max_tokens = 1000}, {.cancelled = [&] { return ++asked > 6; }});
  EXPECT_EQ(cut.finish_reason, "cancelled");
  EXPECT_LT(cut.tokens.size(), full.tokens.size());
  EXPECT_CONTAINS(testing::error_of([&] { continue_text(opened_, ""); }), "the prompt holds no token");
}

}  // namespace
}  // namespace incontext::decode
