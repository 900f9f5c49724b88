#include "train/objectives/objective.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "models/checkpoint.h"
#include "models/language_folder.h"
#include "models/runs.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

constexpr const char* kTensorsFile = "objective.safetensors";

}  // namespace

Tensor total_loss(const Losses& losses) {
  Tensor total;
  for (const Loss& loss : losses) {
    if (loss.weight == 0) continue;
    const Tensor part = loss.weight == 1 ? loss.value : loss.value * loss.weight;
    total = total.defined() ? total + part : part;
  }
  base::check(total.defined(), "objective: expected a loss with a weight other than 0, got {} losses", losses.size());
  return total;
}

Objective::Objective(const ObjectiveBuild& build)
    : options_(build.options), device_(build.device), operations_(build.operations) {}

Objective::~Objective() = default;

std::string Objective::evaluate(const std::function<void(base::Record)>&) const { return ""; }

models::Decoder& Objective::add_decoder(const std::string& name, models::Decoder decoder) {
  for (const Module& module : modules_) {
    base::check(module.name != name, "objective: there are two decoders '{}'", name);
  }
  modules_.push_back({name, std::make_unique<models::Decoder>(std::move(decoder))});
  models::Decoder& added = *modules_.back().decoder;
  added.operations() = operations_;
  const std::string prefix = name.empty() ? "" : name + ".";
  for (const models::NamedTensor& parameter : added.parameters())
    add_parameter(prefix + parameter.name, parameter.tensor);
  return added;
}

Tensor Objective::add_tensor(const std::string& name, const Tensor& values) {
  Tensor tensor = values.detach().to(device_, torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  tensor.set_requires_grad(true);
  add_parameter(name, tensor);
  tensors_.push_back({name, tensor});
  return tensor;
}

void Objective::add_parameter(const std::string& name, const Tensor& tensor) {
  const bool taken = std::any_of(parameters_.begin(), parameters_.end(),
                                 [&](const models::NamedTensor& parameter) { return parameter.name == name; });
  base::check(!taken, "objective: there are two parameters '{}'", name);
  parameters_.push_back({name, tensor});
}

void Objective::zero_gradients() {
  for (models::NamedTensor& parameter : parameters_) parameter.tensor.mutable_grad() = Tensor();
}

void Objective::freeze(const std::string& pattern, const std::string& where) {
  std::vector<std::string> names;
  bool found = false;
  for (models::NamedTensor& parameter : parameters_) {
    names.push_back(parameter.name);
    if (!base::matches_pattern(parameter.name, pattern)) continue;
    parameter.tensor.set_requires_grad(false);
    found = true;
  }
  if (found) return;
  const std::string near = base::nearest_name(pattern, names);
  base::fail("{}: no parameter is called '{}'{}; their names begin with {}", where, pattern,
             near.empty() ? "" : fmt::format(", did you mean '{}'?", near),
             base::enumerate_names({names.begin(), names.begin() + std::min<int64_t>(3, std::ssize(names))}));
}

void Objective::save(const fs::path& folder) const {
  for (const Module& module : modules_) {
    base::make_directories(folder / module.name);
    const base::Json extra = {{"run", base::options_to_json(options_)}};
    if (module.decoder->options().tokens.vocabulary > 0) {
      models::save_language_folder(*module.decoder, folder / module.name, {.family = "incontext", .extra = extra});
    } else {
      models::save_model(*module.decoder, folder / module.name, extra);
    }
  }
  if (tensors_.empty()) return;
  tensor::NamedTensors tensors;
  for (const models::NamedTensor& tensor : tensors_) tensors[tensor.name] = tensor.tensor.detach();
  tensor::write_safetensors(folder / kTensorsFile, tensors);
}

void Objective::load(const fs::path& folder) {
  for (const Module& module : modules_) models::load_weights(*module.decoder, folder / module.name);
  if (tensors_.empty()) return;
  const fs::path path = folder / kTensorsFile;
  const tensor::SafetensorsFile file(path);
  for (models::NamedTensor& tensor : tensors_) {
    models::copy_checked(tensor.tensor, file.tensor(tensor.name), tensor.name, path.string());
  }
}

void Objective::load_initial(const fs::path& folder) { models::load_weights(model(), folder); }

std::unique_ptr<Objective> make_objective(const ObjectiveBuild& build) {
  std::unique_ptr<Objective> objective = objectives().at(build.options.objective.name, "objective").make(build);
  for (const std::string& pattern : build.options.training.freeze) objective->freeze(pattern, "training.freeze");
  const auto& parameters = objective->parameters();
  base::check(std::any_of(parameters.begin(), parameters.end(),
                          [](const models::NamedTensor& parameter) { return parameter.tensor.requires_grad(); }),
              "training.freeze: nothing is left to train");
  return objective;
}

}  // namespace incontext::train
