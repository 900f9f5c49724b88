#include "models/prompt_model.h"

#include <gtest/gtest.h>

#include "support/tensor_close.h"

namespace incontext::models {
namespace {

using torch::Tensor;

// All that predict() hands over, one below the other.
Tensor collected(const Decoder& decoder, const Tensor& xs, const Tensor& ys, const LoopRange& loops) {
  std::vector<Tensor> reads;
  predict(decoder, xs, ys, loops, [&](int64_t, const Tensor& prediction) { reads.push_back(prediction); });
  return torch::stack(reads);
}

TEST(PredictReads, AreThePredictionsOfPredict) {
  torch::manual_seed(0);
  const Tensor xs = torch::randn({3, 5, 2});
  const Tensor ys = torch::randn({3, 5});
  DecoderOptions plain;
  plain.width = 16;
  plain.layers = 3;
  plain.attention.heads = 2;
  plain.max_positions = 10;
  plain.init_std = 0.3;
  DecoderOptions looped = plain;
  looped.layers = 1;
  looped.loop.count = 4;
  DecoderOptions middle = plain;  // a layer before the loop and one after it
  middle.loop.count = 4;
  middle.loop.first_layer = 1;
  middle.loop.last_layer = 2;
  for (const DecoderOptions& options : {plain, looped, middle}) {
    SCOPED_TRACE(options.loop.count);
    const Decoder decoder(options, /*input_dims=*/2, /*seed=*/1, torch::kCPU);
    const LoopRange loops{.count = options.loop.count, .read_from = options.looped() ? 1 : 0};
    const Tensor reads = predict_reads(decoder, xs, ys, loops);
    const Tensor expected = collected(decoder, xs, ys, loops);
    ASSERT_EQ(reads.sizes(), expected.sizes());
    EXPECT_EQ(reads.size(0), options.looped() ? 3 : 1);
    EXPECT_TENSORS_CLOSE(reads, expected, (testing::Tolerance{.absolute = 1e-5, .relative = 1e-5}));
  }
}

}  // namespace
}  // namespace incontext::models
