#include "calibrate/lexico.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/kinds/lexico_dictionary.h"
#include "calibrate/dictionary_learning.h"
#include "calibrate/recording.h"
#include "tensor/safetensors.h"

namespace incontext::calibrate {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

constexpr double kReadingShare = 0.1;  // of the work, for progress

/// Layers that are done, each a file of its own.
class PartialFolder {
 public:
  PartialFolder(fs::path folder, std::string run) : folder_(std::move(folder)), run_(std::move(run)) {
    base::make_directories(folder_);
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      if (entry.path().extension() != ".safetensors") continue;
      const tensor::SafetensorsFile file(entry.path());
      const auto found = file.metadata().find("run");
      base::check(found != file.metadata().end() && found->second == run_,
                  "{}: holds layers of a calibration with another model, text or options; remove it, or choose another "
                  "--out",
                  folder_.string());
    }
  }

  bool holds(int64_t layer) const { return fs::exists(path(layer)); }

  void write(int64_t layer, const cache::LexicoPart& keys, const cache::LexicoPart& values,
             const LexicoLayerReport& report) const {
    tensor::NamedTensors tensors;
    add("keys.", keys, tensors);
    add("values.", values, tensors);
    tensors["errors"] = torch::tensor(
        {report.key_error, report.value_error, report.random_key_error, report.random_value_error}, torch::kFloat64);
    tensor::write_safetensors(path(layer), tensors, {{"run", run_}});
  }

  void read(int64_t layer, cache::LexicoPart& keys, cache::LexicoPart& values, LexicoLayerReport& report) const {
    const tensor::SafetensorsFile file(path(layer));
    take("keys.", file, keys);
    take("values.", file, values);
    const Tensor errors = file.copy("errors");
    base::check(errors.scalar_type() == torch::kFloat64 && errors.numel() == 4, "{}: tensor 'errors': expected f64 [4]",
                path(layer).string());
    const double* each = errors.data_ptr<double>();
    report = {.layer = layer,
              .key_error = each[0],
              .value_error = each[1],
              .random_key_error = each[2],
              .random_value_error = each[3]};
  }

  void remove() const { fs::remove_all(folder_); }

 private:
  fs::path path(int64_t layer) const { return folder_ / fmt::format("layer-{:03}.safetensors", layer); }

  static void add(const std::string& prefix, const cache::LexicoPart& part, tensor::NamedTensors& tensors) {
    tensors[prefix + "atoms"] = part.atoms;
    if (part.mean.defined()) tensors[prefix + "mean"] = part.mean;
    if (part.weights.defined()) tensors[prefix + "weights"] = part.weights;
  }
  static void take(const std::string& prefix, const tensor::SafetensorsFile& file, cache::LexicoPart& part) {
    part.atoms = file.copy(prefix + "atoms");
    if (file.contains(prefix + "mean")) part.mean = file.copy(prefix + "mean");
    if (file.contains(prefix + "weights")) part.weights = file.copy(prefix + "weights");
  }

  fs::path folder_;
  std::string run_;
};

/// One in this many vectors is held out of the learning, to measure errors on.
constexpr int64_t kHeldOut = 16;
constexpr int64_t kMostMeasured = 4096;

struct PartFit {
  cache::LexicoPart part;
  double error = 0, random_error = 0;
  bool finished = true;
};

PartFit fit(const Tensor& recorded, const Tensor& weights, const LexicoCalibrationOptions& options, uint64_t seed,
            const std::function<bool(int64_t step)>& progress) {
  PartFit result;
  Tensor vectors = recorded.to(torch::kFloat32);  // [tokens, kv_heads, head_dim]
  if (options.means) {
    result.part.mean = vectors.mean(0);
    vectors = vectors - result.part.mean;
  }
  if (weights.defined()) {
    result.part.weights = weights;
    vectors = vectors * weights;
  }
  // Whole stretches of tokens are held out, since neighbours are alike.
  const int64_t held = std::max<int64_t>(1, vectors.size(0) / kHeldOut);
  const Tensor learned_from = vectors.narrow(0, 0, std::max<int64_t>(1, vectors.size(0) - held)).flatten(0, 1);
  Tensor measured = vectors.narrow(0, vectors.size(0) - held, held).flatten(0, 1);
  measured = measured.narrow(0, 0, std::min(kMostMeasured, measured.size(0)));
  const Tensor atoms =
      learn_dictionary(learned_from,
                       {.atoms = options.atoms,
                        .sparsity = options.sparsity,
                        .steps = options.steps,
                        .batch = options.batch,
                        .update = options.update == "adam" ? DictionaryUpdate::adam : DictionaryUpdate::direct,
                        .learning_rate = options.learning_rate,
                        .seed = seed},
                       [&](int64_t step, double) { return result.finished = progress(step); });
  if (!result.finished) return result;
  result.error = coding_error(measured, atoms, options.sparsity);
  result.random_error = coding_error(measured, random_dictionary(options.atoms, atoms.size(1), seed), options.sparsity);
  result.part.atoms = (weights.defined() ? atoms / weights : atoms).to(torch::kFloat16).contiguous();
  return result;
}

/// The metric of keys: roots of the queries' mean squares, of mean one, none below a tenth of it.
Tensor key_weights(const RecordedLayer& layer, const LexicoCalibrationOptions& options) {
  if (options.metric == "none") return {};
  const Tensor roots = layer.query_squares.sqrt();
  return (roots / roots.mean()).clamp_min(0.1).to(torch::kFloat32);
}

}  // namespace

LexicoCalibrationReport calibrate_lexico(const models::LanguageModel& model, std::span<const int64_t> tokens,
                                         const LexicoCalibrationOptions& options, const fs::path& out,
                                         const CalibrationEvents& events) {
  const torch::NoGradGuard no_gradient;
  const cache::CachedModel cached = model.cached_model();
  const cache::CacheShape& shape = cached.shape;
  base::check(shape.layers > 0, "the model has no layer with keys and values");
  base::check(options.sparsity <= std::min(shape.head_dim, options.atoms),
              "sparsity: expected at most {}, the head_dim or the number of atoms, got {}",
              std::min(shape.head_dim, options.atoms), options.sparsity);
  const auto used = std::min(options.tokens, static_cast<int64_t>(tokens.size()));
  const int64_t least = (4 * options.atoms + shape.kv_heads - 1) / shape.kv_heads;
  base::check(
      used >= least,
      "the text has {} tokens; {} atoms need at least {}, four vectors for each (KV heads: {}): give more text, or "
      "fewer atoms",
      used, options.atoms, least, shape.kv_heads);
  // What would only be seen at the end, when the work is done.
  const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
  base::check(fs::is_directory(parent), "{}: cannot be written: there is no folder {}", out.string(), parent.string());
  base::check(!fs::is_directory(out), "{}: is a folder, and the dictionaries are one file", out.string());
  const std::span<const int64_t> read = tokens.subspan(0, static_cast<size_t>(used));
  const std::string_view bytes(reinterpret_cast<const char*>(read.data()), read.size_bytes());
  const std::string settings = base::options_to_json(options).dump();
  const PartialFolder partial(out.string() + ".partial",
                              fmt::format("{} {:016x} {}", cached.fingerprint, base::fnv1a(bytes), settings));
  LexicoCalibrationReport report;
  const auto stopped = [&] { return events.stopped && events.stopped(); };
  const auto tell = [&](double done, const std::string& what) {
    if (events.progress) events.progress(done, what);
  };
  for (int64_t layer = 0; layer < shape.layers; ++layer) report.resumed_layers += partial.holds(layer) ? 1 : 0;
  Recording recording;
  if (report.resumed_layers < shape.layers) {
    const int64_t context = std::min(options.context, model.config().context);
    recording = record(model, read, context, [&](int64_t done) {
      tell(kReadingShare * static_cast<double>(done) / static_cast<double>(used), "reading");
      return !stopped();
    });
    if (stopped()) return report;
  }
  report.tokens = used;
  cache::LexicoDictionary dictionary;
  dictionary.model = cached.fingerprint;
  dictionary.settings = {{"options", settings}, {"tokens", std::to_string(used)}};
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    cache::LexicoPart keys, values;
    LexicoLayerReport of_layer{.layer = layer};
    if (partial.holds(layer)) {
      partial.read(layer, keys, values, of_layer);
    } else {
      RecordedLayer& recorded = recording.layers[static_cast<size_t>(layer)];
      const auto progress = [&](double begun) {
        return [&, begun](int64_t step) {
          const double of_part = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, options.steps));
          const double done = (static_cast<double>(layer) + begun + of_part / 2) / static_cast<double>(shape.layers);
          tell(kReadingShare + (1 - kReadingShare) * done, fmt::format("layer {} of {}", layer + 1, shape.layers));
          return !stopped();
        };
      };
      const auto seed = options.seed * 100003 + static_cast<uint64_t>(2 * layer);
      PartFit key_fit = fit(recorded.keys, key_weights(recorded, options), options, seed, progress(0));
      if (!key_fit.finished) return report;
      PartFit value_fit = fit(recorded.values, {}, options, seed + 1, progress(0.5));
      if (!value_fit.finished) return report;
      keys = key_fit.part;
      values = value_fit.part;
      of_layer = {.layer = layer,
                  .key_error = key_fit.error,
                  .value_error = value_fit.error,
                  .random_key_error = key_fit.random_error,
                  .random_value_error = value_fit.random_error};
      partial.write(layer, keys, values, of_layer);
      recorded = {};
    }
    dictionary.keys.push_back(keys);
    dictionary.values.push_back(values);
    report.layers.push_back(of_layer);
  }
  cache::write_lexico_dictionary(dictionary, out);
  partial.remove();
  report.bytes = dictionary.bytes();
  report.finished = true;
  tell(1, "done");
  return report;
}

}  // namespace incontext::calibrate
