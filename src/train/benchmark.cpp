#include "train/benchmark.h"

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "models/checkpoint.h"
#include "tensor/safetensors.h"

namespace incontext::train {
namespace {

struct Size {
  const char* name;
  int64_t width, layers, heads, loops;
};

constexpr Size kSizes[] = {
    {"tiny", 64, 3, 2, 0}, {"small", 128, 6, 4, 0}, {"standard", 256, 12, 8, 0}, {"looped", 256, 1, 8, 20}};
static_assert(std::equal(std::begin(kSizes), std::end(kSizes), kBenchmarkModels.begin(), kBenchmarkModels.end(),
                         [](const Size& size, std::string_view name) { return size.name == name; }));

}  // namespace

RunOptions benchmark_options(const std::string& model) {
  for (const Size& size : kSizes) {
    if (model != size.name) continue;
    RunOptions options;
    options.model.width = size.width;
    options.model.layers = size.layers;
    options.model.attention.heads = size.heads;
    options.model.max_positions = 202;
    options.model.loop.count = size.loops;
    options.task.dims = 20;
    options.training.batch_size = 64;
    options.training.learning_rate = 1e-4;
    options.training.loop_window = size.loops;
    options.training.curriculum.points.end = 41;
    return options;
  }
  base::fail("unknown benchmark model '{}'; known: {}", model, base::enumerate_names(benchmark_models()));
}

double step_flops(const RunOptions& options) {
  RunOptions run = options;
  run.resolve();
  const auto width = static_cast<double>(run.model.width);
  const auto points = static_cast<double>(run.training.curriculum.points.end);
  const double tokens = 2 * points;
  const auto batch = static_cast<double>(run.training.batch_size);
  const auto hidden = static_cast<double>(run.model.resolved_mlp_width());
  const double keys_and_values = 2 * width * width;
  const double others = 2 * width * width + 2 * width * hidden;  // queries, output projection, MLP
  const double pair = 2 * width;                                 // of query and key: score and weighted sum
  const double layer = tokens * (keys_and_values + others) + tokens * (tokens + 1) / 2 * pair;
  // The last layer runs all but keys and values at the x tokens alone, of which the i-th sees 2 i - 1 tokens.
  const double last = tokens * keys_and_values + points * others + points * points * pair;
  const auto passes = static_cast<double>(run.model.layers * std::max<int64_t>(1, run.model.loop.count));
  return 3 * 2 * batch * ((passes - 1) * layer + last);
}

void write_benchmark_start(const std::string& model, int64_t steps, const std::filesystem::path& folder) {
  const Trainer trainer(benchmark_options(model), torch::kCPU, {});
  const RunOptions& options = trainer.options();
  const int64_t batch = options.training.batch_size;
  std::vector<torch::Tensor> xs, ys;
  for (int64_t step = 0; step < steps; ++step) {
    const Samples prompts =
        trainer.objective().sample(static_cast<uint64_t>(step * batch), batch, options.training.curriculum.at(step));
    xs.push_back(prompts.at("xs"));
    ys.push_back(prompts.at("ys"));
  }
  models::save_model(trainer.model(), folder);
  tensor::write_safetensors(folder / "prompts.safetensors", {{"xs", torch::stack(xs)}, {"ys", torch::stack(ys)}});
}

BenchmarkResult measure_steps(Trainer& trainer, double seconds, int64_t least_steps) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kWarmUp = 2;
  BenchmarkResult result;
  for (int64_t i = 0; i < kWarmUp; ++i) result.losses.push_back(trainer.step().loss);
  const auto begin = Clock::now();
  while (static_cast<int64_t>(result.step_seconds.size()) < least_steps ||
         std::chrono::duration<double>(Clock::now() - begin).count() < seconds) {
    const auto start = Clock::now();
    const StepStats stats = trainer.step();
    result.step_seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    if (result.losses.size() < 10) result.losses.push_back(stats.loss);
  }
  return result;
}

}  // namespace incontext::train
