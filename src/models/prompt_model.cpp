#include "models/prompt_model.h"

#include "base/error.h"
#include "ops/read_tokens.h"

namespace incontext::models {
namespace {

using torch::Tensor;

// Prompts of x y pairs are read at every x.
constexpr kernels::Reads kXTokens{.first = 0, .every = 2};

Tensor at_x_tokens(const Tensor& hidden) { return ops::read_tokens(hidden, kXTokens); }

Tensor inject(const Decoder& decoder, const Tensor& iterate, const Tensor& input) {
  const Injection injection = decoder.options().loop.injection;
  if (injection == Injection::add) return iterate + input;
  return injection == Injection::multiply ? iterate * input : iterate;
}

// Calls on_read(loop, what the head reads) after every loop that is read: hidden states at the tokens of step.reads.
// With `on_prediction`, predictions made on the way to the next loop go there instead.
template <class OnRead>
void run_loops(const Decoder& decoder, const Tensor& embedded, const LoopRange& loops, const Step& step,
               const OnRead& on_read, const OnPrediction* on_prediction = nullptr) {
  const DecoderOptions& options = decoder.options();
  const int64_t first = options.loop.first_layer;
  const int64_t last = options.loop_end();
  const bool has_tail = last < options.layers;
  const bool reads_at_border = on_prediction != nullptr && !has_tail && options.loop.injection == Injection::add;
  Step whole = step;  // every loop but the last feeds all its tokens to the next
  whole.reads = {};
  Tensor input = decoder.run_layers(embedded, 0, first, whole);
  Tensor hidden = input;  // of the coming loop: loop 1 sees P in every form of injection
  Tensor iterate;
  for (int64_t loop = 1; loop <= loops.count; ++loop) {
    const bool read = loop > loops.read_from;
    const bool is_last = loop == loops.count;
    torch::AutoGradMode gradients(torch::GradMode::is_enabled() && (read || !loops.truncate));
    if (!hidden.defined()) hidden = inject(decoder, iterate, input);
    Step now = is_last && !has_tail ? step : whole;
    now.loop = loop;
    iterate = decoder.loop_norm(decoder.run_layers(hidden, first, last, now));
    hidden = Tensor();
    if (!read) continue;
    if (reads_at_border && !is_last) {
      const ops::LoopBorder border = decoder.loop_border(iterate, input);
      hidden = border.hidden;
      input = border.input;
      (*on_prediction)(loop, border.prediction);
    } else if (has_tail) {
      on_read(loop, decoder.final_norm(decoder.run_layers(iterate, last, options.layers, step)));
    } else {
      on_read(loop, is_last || step.reads.all() ? iterate : ops::read_tokens(iterate, step.reads));
    }
  }
}

}  // namespace

Tensor interleave(const Tensor& xs, const Tensor& ys) {
  base::check(xs.dim() == 3 && ys.dim() == 2 && xs.size(0) == ys.size(0) && xs.size(1) == ys.size(1),
              "[interleave] expected xs [batch, points, dims] and ys [batch, points], got {} and {}",
              fmt::join(xs.sizes(), "x"), fmt::join(ys.sizes(), "x"));
  Tensor tokens = torch::zeros({xs.size(0), xs.size(1), 2, xs.size(2)}, xs.options());
  tokens.select(2, 0).copy_(xs);
  tokens.select(2, 1).select(2, 0).copy_(ys);
  return tokens.view({xs.size(0), 2 * xs.size(1), xs.size(2)});
}

void predict(const Decoder& decoder, const Tensor& xs, const Tensor& ys, const LoopRange& loops,
             const OnPrediction& on_prediction, Step step) {
  step.reads = kXTokens;
  const DecoderOptions& options = decoder.options();
  const Tensor embedded = decoder.embed(interleave(xs, ys));
  if (options.looped()) {
    const auto on_read = [&](int64_t loop, const Tensor& hidden) { on_prediction(loop, decoder.head(hidden)); };
    run_loops(decoder, embedded, loops, step, on_read, &on_prediction);
    return;
  }
  const Tensor hidden = decoder.run_layers(embedded, 0, options.layers, step);
  on_prediction(0, decoder.head(decoder.final_norm(options.layers == 0 ? at_x_tokens(hidden) : hidden)));
}

Tensor predict_reads(const Decoder& decoder, const Tensor& xs, const Tensor& ys, const LoopRange& loops) {
  std::vector<Tensor> reads;
  if (!decoder.options().looped()) {
    predict(decoder, xs, ys, loops, [&](int64_t, const Tensor& prediction) { reads.push_back(prediction); });
    return reads[0].unsqueeze(0);
  }
  run_loops(decoder, decoder.embed(interleave(xs, ys)), loops, {},
            [&](int64_t, const Tensor& hidden) { reads.push_back(hidden); });
  const Tensor stacked = torch::stack(reads);
  return decoder.head(stacked.slice(2, kXTokens.first, stacked.size(2), kXTokens.every));
}

Tensor predict_once(const Decoder& decoder, const Tensor& xs, const Tensor& ys, int64_t loops) {
  torch::NoGradGuard no_gradients;
  const int64_t count = loops == 0 ? decoder.options().loop.count : loops;
  Tensor result;
  predict(decoder, xs, ys, {.count = count, .read_from = count - 1},
          [&](int64_t, const Tensor& prediction) { result = prediction; });
  return result;
}

}  // namespace incontext::models
