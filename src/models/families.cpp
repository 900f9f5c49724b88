#include "models/families.h"

#include "base/error.h"
#include "base/text.h"
#include "models/config_keys.h"
#include "models/families/places.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

using base::Json;
using torch::Tensor;

const Family& family_of(const LanguageConfig& config) { return families().at(config.model_type, "model_type"); }

// The family's tensor that holds one of our parameters.
Tensor whole_of(const LanguageConfig& config, const WeightFiles& files, const std::string& name, const Place& place) {
  std::string theirs = files.name_of(place.name);
  // One of two tied names is enough.
  const std::string head = place_of(family_of(config), config.options, "head.weight").name;
  if (name == "embedding.weight" && config.options.tokens.tied_embeddings && !files.contains(theirs) &&
      files.contains(head)) {
    theirs = head;
  }
  return files.tensor(theirs);
}

Tensor find_part(const LanguageConfig& config, const WeightFiles& files, const std::string& name) {
  const Place place = place_of(family_of(config), config.options, name);
  Tensor tensor = whole_of(config, files, name, place);
  const auto type = tensor.scalar_type();
  base::check(type == torch::kFloat32 || type == torch::kFloat16 || type == torch::kBFloat16,
              "tensor '{}': expected float32, float16 or bfloat16, got {}", place.name, torch::toString(type));
  const bool transposed = place.transposed && tensor.dim() == 2;
  if (transposed) tensor = tensor.t();
  if (place.first_row > 0 || place.rows >= 0) {
    const int64_t rows = place.rows >= 0 ? place.rows : tensor.size(0) - place.first_row;
    base::check(tensor.dim() >= 1 && place.first_row + rows <= tensor.size(0),
                "tensor '{}': expected at least {} rows, got [{}]", place.name, place.first_row + rows,
                fmt::join(tensor.sizes(), ", "));
    tensor = tensor.narrow(0, place.first_row, rows);
  }
  if (tensor.dim() < 2) return tensor.to(torch::kFloat32).contiguous();
  return transposed ? tensor.contiguous() : tensor;
}

torch::ScalarType stored_type(const LanguageConfig& config, const WeightFiles& files, const std::string& name) {
  return whole_of(config, files, name, place_of(family_of(config), config.options, name)).scalar_type();
}

Tensor checked(const LanguageConfig& config, const WeightFiles& files, const std::string& name,
               torch::IntArrayRef shape) {
  const Tensor tensor = find_weight(config, files, name);
  base::check(tensor.sizes() == shape, "tensor '{}' of the {} model: expected shape [{}], got [{}]", name,
              config.model_type, fmt::join(shape, ", "), fmt::join(tensor.sizes(), ", "));
  return tensor;
}

}  // namespace

base::Registry<Family>& families() {
  static base::Registry<Family> table(
      "model_type", {gpt2_family(), incontext_family(), llama_family(), mistral_family(), opt_family(), phi3_family(),
                     qwen2_family(), qwen3_family()});
  return table;
}

LanguageConfig read_language_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  base::check(std::filesystem::is_directory(folder), "{}: expected a model folder", folder.string());
  base::check(std::filesystem::exists(path), "{}: not a model folder: config.json is missing", folder.string());
  LanguageConfig config;
  config.json = read_json(path);
  const JsonFields own(config.json, path.string());
  config.model_type = own.text("model_type", "");
  const Family* family = families().find(config.model_type);
  base::check(family != nullptr, "{}: model_type '{}' is not one we know: {}", path.string(),
              base::printable(config.model_type), base::enumerate_names(language_families()));
  base::check(!own.has("quantization_config"), "{}: quantised weights are not supported; expected f32, f16 or bf16",
              path.string());
  const Json merged = with_defaults(config.json, *family, path.string());
  family->read(JsonFields(merged, path.string()), config);
  // The defaults of these name tokens of other vocabularies.
  config.bos_ids = own.integers("bos_token_id");
  config.eos_ids = own.integers("eos_token_id");
  // Beyond these no model goes; they keep sums of products within 64 bits.
  for (const int64_t size : {config.options.width, config.options.layers, config.options.attention.heads,
                             config.options.resolved_kv_heads(), config.options.tokens.vocabulary, config.context}) {
    base::check(size > 0 && size < (int64_t{1} << 31), "{}: expected sizes from 1 to 2^31, got {}", path.string(),
                size);
  }
  const std::string problem = config.options.validate();
  base::check(problem.empty(), "{}: {}", path.string(), problem);
  return config;
}

std::vector<std::string> language_families() { return families().names(); }

const Json& config_defaults(const std::string& model_type) { return families().at(model_type, "model_type").defaults; }

Tensor find_weight(const LanguageConfig& config, const WeightFiles& files, const std::string& name) {
  if (!is_packed(name) || family_of(config).tensors.empty()) return find_part(config, files, name);
  std::vector<Tensor> parts;
  for (const PackedPart& part : parts_of_packed(name, config.options)) {
    parts.push_back(find_part(config, files, part.name));
    base::check(parts.back().size(0) == part.rows, "tensor '{}' of the {} model: expected {} rows, got {}", part.name,
                config.model_type, part.rows, parts.back().size(0));
  }
  return torch::cat(parts);
}

std::string settle_head(LanguageConfig& config, const WeightFiles& files) {
  if (!config.options.tokens.tied_embeddings) return "";
  const auto name_of = [&](const char* name) {
    return files.name_of(place_of(family_of(config), config.options, name).name);
  };
  const std::string head = name_of("head.weight"), embedding = name_of("embedding.weight");
  if (head == embedding || !files.contains(head) || !files.contains(embedding)) return "";
  const Tensor a = files.tensor(head), b = files.tensor(embedding);
  if (a.scalar_type() == b.scalar_type() && torch::equal(a, b)) return "";
  config.options.tokens.tied_embeddings = false;
  config.json["tie_word_embeddings"] = false;
  return fmt::format("config.json ties the head to the embeddings, but '{}' holds other values than '{}': it is used",
                     head, embedding);
}

WeightSource frozen_weights(const LanguageConfig& config, const WeightFiles& files, torch::Device device) {
  const auto get = [&config, &files, device](const std::string& name, torch::IntArrayRef shape, const Init&) {
    const Tensor tensor = checked(config, files, name, shape);
    return device.is_cpu() ? tensor : tensor.to(device, torch::kFloat32);
  };
  const auto type = [&config, &files](const std::string& name) { return stored_type(config, files, name); };
  return {.get = get, .stored_type = type, .packed_qkv = family_of(config).tensors.empty()};
}

WeightSource trained_weights(const LanguageConfig& config, const WeightFiles& files, torch::Device device) {
  const auto get = [&config, &files, device](const std::string& name, torch::IntArrayRef shape, const Init&) {
    // A copy, whatever the type: the file's own bytes cannot be written to.
    return checked(config, files, name, shape)
        .to(device, torch::kFloat32, /*non_blocking=*/false, /*copy=*/true)
        .contiguous()
        .set_requires_grad(true);
  };
  return {.get = get, .packed_qkv = true};
}

bool is_not_a_parameter(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with("rotary_emb.inv_freq") ||
         name == "lm_head.weight";
}

}  // namespace incontext::models
