#include "models/language_folder.h"

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "models/checkpoint.h"
#include "models/families/places.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;
using torch::Tensor;

// Our parameters as the family's tensors: ours that share one of theirs come one after the other.
class Assembly {
 public:
  Assembly(const Family& family, const DecoderOptions& options) : family_(family), options_(options) {}

  void add(const std::string& name, const Tensor& values) {
    if (is_packed(name) && !family_.tensors.empty()) {
      int64_t first = 0;
      for (const PackedPart& part : parts_of_packed(name, options_)) {
        add(part.name, values.narrow(0, first, part.rows));
        first += part.rows;
      }
      return;
    }
    const Place place = place_of(family_, options_, name);
    Whole& whole = wholes_[place.name];
    whole.transposed = place.transposed && values.dim() == 2;
    whole.parts[place.first_row] = values;
  }

  tensor::NamedTensors tensors(const WeightFiles* source) const {
    tensor::NamedTensors result;
    for (const auto& [full_name, whole] : wholes_) {
      const std::string name = source != nullptr ? source->name_of(full_name) : full_name;
      std::vector<Tensor> parts;
      // Rows that hold none of our parameters: from where the model came, or zeros.
      if (const int64_t before = whole.parts.begin()->first; before > 0) {
        const Tensor& first = whole.parts.begin()->second;
        const bool known = source != nullptr && source->contains(name);
        parts.push_back(known ? source->tensor(name).narrow(0, 0, before).to(first.scalar_type())
                              : torch::zeros({before, first.size(1)}, first.options().device(torch::kCPU)));
      }
      for (const auto& [row, part] : whole.parts) parts.push_back(part.cpu());
      const Tensor rows = parts.size() == 1 ? parts[0] : torch::cat(parts);
      result[name] = whole.transposed ? rows.t().contiguous() : rows;
    }
    return result;
  }

 private:
  struct Whole {
    bool transposed = false;
    std::map<int64_t, Tensor> parts;  // by first row
  };
  const Family& family_;
  const DecoderOptions& options_;
  std::map<std::string, Whole> wholes_;
};

std::string type_name(const tensor::NamedTensors& tensors) {
  // That of most elements.
  std::map<torch::ScalarType, int64_t> elements;
  for (const auto& [name, tensor] : tensors) elements[tensor.scalar_type()] += tensor.numel();
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == elements.end() || most->first == torch::kFloat32) return "float32";
  return most->first == torch::kFloat16 ? "float16" : "bfloat16";
}

}  // namespace

std::string family_problem(const std::string& family, const DecoderOptions& options) {
  const Family& row = families().at(family, "model.family");
  if (row.problem == nullptr || row.write == nullptr) {
    return fmt::format(
        "model.family: a model of the family {} can be trained from a folder (training.initial_weights), "
        "not from nothing",
        family);
  }
  return row.problem(options);
}

LanguageConfig describe_language_folder(const fs::path& folder) {
  LanguageConfig config = read_language_config(folder);
  settle_head(config, WeightFiles(folder));
  config.options.family = config.model_type;
  return config;
}

void save_language_folder(const Decoder& decoder, const fs::path& folder, const LanguageFolderOptions& options) {
  const Family& family = families().at(options.family, "model.family");
  Assembly assembly(family, decoder.options());
  for (const NamedTensor& parameter : decoder.parameters()) {
    assembly.add(parameter.name, parameter.tensor.detach().to(parameter.stored));
  }
  const tensor::NamedTensors tensors = assembly.tensors(options.source);
  Json config = options.config;
  if (config.is_null()) {
    const std::string problem = family_problem(options.family, decoder.options());
    base::check(problem.empty(), "{}", problem);
    config = family.write(decoder.options());
    config["architectures"] = Json::array({family.architecture});
    config["model_type"] = family.name;
    config["incontext_version"] = base::version();
  }
  config.erase("dtype");
  config["torch_dtype"] = type_name(tensors);
  Json generation = {{"_from_model_config", true}};
  for (const auto& [key, id] : {std::pair{"bos_token_id", options.bos_id}, {"eos_token_id", options.eos_id}}) {
    if (id) config[key] = generation[key] = *id;
    // Without these keys transformers takes the tokens 1 and 2.
    if (!config.contains(key)) config[key] = nullptr;
  }
  for (const auto& [key, value] : options.extra.items()) config[key] = value;
  tensor::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  if (!fs::exists(folder / "generation_config.json")) {
    base::write_file_atomic(folder / "generation_config.json", generation.dump(2) + "\n");
  }
  base::write_file_atomic(folder / "config.json", config.dump(2) + "\n");
}

void load_language_parameters(Decoder& decoder, const fs::path& folder) {
  const LanguageConfig config = describe_language_folder(folder);
  const WeightFiles files(folder);
  const DecoderOptions& options = decoder.options();
  base::check(config.options.layers == options.layers, "{}: expected {} layers, got {}", folder.string(),
              options.layers, config.options.layers);
  base::check(!options.tokens.tied_embeddings || config.options.tokens.tied_embeddings,
              "{}: it has a head of its own; expected model.tied_embeddings false", folder.string());
  torch::NoGradGuard no_gradients;
  for (NamedTensor& parameter : decoder.parameters()) {
    const Tensor source = find_weight(config, files, parameter.name).to(torch::kFloat32);
    copy_checked(parameter.tensor, source, parameter.name, folder.string());
  }
}

}  // namespace incontext::models
