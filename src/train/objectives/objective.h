#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/record.h"
#include "base/registry.h"
#include "models/decoder.h"
#include "tensor/safetensors.h"
#include "tensor/torch.h"
#include "train/options.h"

namespace incontext::train {

/// Samples of a batch by name; the first dimension of every tensor counts samples.
using Samples = tensor::NamedTensors;

/// A quantity that an objective computes from a batch. What is minimised is the sum of weight * value; all of them are
/// logged, those of weight 0 too.
struct Loss {
  std::string name;
  torch::Tensor value;  // a scalar, the mean over the batch
  double weight = 1;
};
using Losses = std::vector<Loss>;

/// The number that a loss was in one step.
struct LossValue {
  std::string name;
  double value = 0;
};

/// The sum of weight * value. An Error where all weights are 0.
torch::Tensor total_loss(const Losses& losses);

/// What an objective is made from.
struct ObjectiveBuild {
  const RunOptions& options;  // resolved
  torch::Device device;
  ops::Settings operations;  // of its decoders
};

/// What a run trains: one or more decoders, and tensors of its own; how numbered samples become losses; what is
/// measured on the way; and how all of it is stored in a checkpoint. The trainer knows no more of it than this.
class Objective {
 public:
  virtual ~Objective();

  /// Training samples first … first + count - 1, in the processor's memory: a pure function of the arguments.
  virtual Samples sample(uint64_t first, int64_t count, const Stage& stage) const = 0;
  /// Of samples on the objective's device, a pure function of the weights and the arguments. At least one, and always
  /// the same names in the same order.
  virtual Losses losses(const Samples& samples, const Stage& stage) const = 0;

  /// Measures what is trained on held-out data: called every training.evaluate_every steps and at the end. `write`
  /// takes records, to which the run adds its name, seed and step. Returns what the progress line shows, for example
  /// "held-out loss 2.31".
  virtual std::string evaluate(const std::function<void(base::Record)>& write) const;

  /// Writes all it owns into a checkpoint's folder. As it stands here: the decoder without a name as a model folder,
  /// the others as model folders within it, tensors of its own as objective.safetensors.
  virtual void save(const std::filesystem::path& folder) const;
  /// Reads what save() wrote. Anything that does not fit is an Error.
  virtual void load(const std::filesystem::path& folder);
  /// Begins with the weights of training.initial_weights, a model folder. As it stands here: those of model().
  virtual void load_initial(const std::filesystem::path& folder);

  /// What the user should know before the run begins, a line each.
  virtual std::vector<std::string> notes() const { return {}; }

  /// The first decoder that was added.
  models::Decoder& model() { return *modules_.at(0).decoder; }
  const models::Decoder& model() const { return *modules_.at(0).decoder; }

  /// All parameters, by names that are unique among them: "<decoder>.<parameter>", or as they are in the decoder
  /// without a name.
  const std::vector<models::NamedTensor>& parameters() const { return parameters_; }
  void zero_gradients();
  /// Parameters whose names match the pattern (* any characters, ? one) are not trained: they get no gradients and no
  /// moments. An Error where it matches none; `where` names the pattern's origin in it.
  void freeze(const std::string& pattern, const std::string& where);

  const RunOptions& options() const { return options_; }
  torch::Device device() const { return device_; }
  const ops::Settings& operations() const { return operations_; }

 protected:
  explicit Objective(const ObjectiveBuild& build);

  /// Takes a decoder among what is trained, and lets it compute as the run asks. One may have the empty name: it is the
  /// one that a checkpoint's folder opens as. The reference stays valid. Adapters must have been added before.
  models::Decoder& add_decoder(const std::string& name, models::Decoder decoder);
  /// Takes a parameter beside those of decoders, moved to the device as a leaf that wants a gradient.
  torch::Tensor add_tensor(const std::string& name, const torch::Tensor& values);

 private:
  struct Module {
    std::string name;
    std::unique_ptr<models::Decoder> decoder;
  };
  void add_parameter(const std::string& name, const torch::Tensor& tensor);

  RunOptions options_;
  torch::Device device_;
  ops::Settings operations_;
  std::vector<Module> modules_;
  std::vector<models::NamedTensor> tensors_;     // its own
  std::vector<models::NamedTensor> parameters_;  // all
};

/// The options of an objective that has none.
struct NoOptions {
  template <class Visitor>
  void visit(Visitor&) {}
};

/// Reads the options of an objective from a group, and returns all of them with their defaults. Unknown keys are
/// Errors that name the line.
template <class Options>
base::Json read_objective_options(const base::ConfigNode& node, const std::string& prefix) {
  Options options;
  base::read_options(node, options, prefix);
  return base::options_to_json(options);
}

/// The options of the run's objective, in the struct that its row names.
template <class Options>
Options objective_options(const RunOptions& run) {
  Options options;
  base::read_options(base::config_from_json(run.objective.values, "objective"), options, "objective.");
  return options;
}

/// A row of the table of objectives.
struct ObjectiveKind {
  std::string name;
  std::string help;
  std::unique_ptr<Objective> (*make)(const ObjectiveBuild& build) = nullptr;
  /// Of an objective with options in a struct `T`: read_objective_options<T>.
  base::Json (*read_options)(const base::ConfigNode& node,
                             const std::string& prefix) = read_objective_options<NoOptions>;
  /// Fills in options of the run that were left to others; may be null.
  void (*resolve)(RunOptions& options) = nullptr;
  /// The first contradiction between options of the run, or ""; may be null.
  std::string (*problem)(const RunOptions& options) = nullptr;
};

/// The objectives that a run can have. A new one is a file beside this and a row in objectives.cpp; a program that
/// links this one adds its own.
base::Registry<ObjectiveKind>& objectives();

/// The run's objective; resolved options.
std::unique_ptr<Objective> make_objective(const ObjectiveBuild& build);

}  // namespace incontext::train
