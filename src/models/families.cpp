#include "models/families.h"

#include <map>

#include "base/error.h"
#include "base/text.h"
#include "models/config_keys.h"
#include "models/family_configs.h"

namespace incontext::models {
namespace {

using base::Json;
using torch::Tensor;

// Where a family keeps one of our tensors. Part of the rows, where several of ours are one of theirs.
struct Place {
  std::string name;
  int64_t first_row = 0;
  int64_t rows = -1;        // -1: to the end
  bool transposed = false;  // [in, out] in the file
};

// Our stem -> theirs; N stands for the number of a layer.
using Stems = std::map<std::string, std::string>;

const Stems& llama_stems() {
  static const Stems stems = {{"embedding", "model.embed_tokens"},
                              {"norm", "model.norm"},
                              {"head", "lm_head"},
                              {"layers.N.norm1", "model.layers.N.input_layernorm"},
                              {"layers.N.norm2", "model.layers.N.post_attention_layernorm"},
                              {"layers.N.attention.q", "model.layers.N.self_attn.q_proj"},
                              {"layers.N.attention.k", "model.layers.N.self_attn.k_proj"},
                              {"layers.N.attention.v", "model.layers.N.self_attn.v_proj"},
                              {"layers.N.attention.q_norm", "model.layers.N.self_attn.q_norm"},
                              {"layers.N.attention.k_norm", "model.layers.N.self_attn.k_norm"},
                              {"layers.N.attention.out", "model.layers.N.self_attn.o_proj"},
                              {"layers.N.mlp.gate", "model.layers.N.mlp.gate_proj"},
                              {"layers.N.mlp.up", "model.layers.N.mlp.up_proj"},
                              {"layers.N.mlp.down", "model.layers.N.mlp.down_proj"}};
  return stems;
}

const Stems& opt_stems() {
  static const Stems stems = {{"embedding", "model.decoder.embed_tokens"},
                              {"position", "model.decoder.embed_positions"},
                              {"token_in", "model.decoder.project_in"},
                              {"token_out", "model.decoder.project_out"},
                              {"norm", "model.decoder.final_layer_norm"},
                              {"head", "lm_head"},
                              {"layers.N.norm1", "model.decoder.layers.N.self_attn_layer_norm"},
                              {"layers.N.norm2", "model.decoder.layers.N.final_layer_norm"},
                              {"layers.N.attention.q", "model.decoder.layers.N.self_attn.q_proj"},
                              {"layers.N.attention.k", "model.decoder.layers.N.self_attn.k_proj"},
                              {"layers.N.attention.v", "model.decoder.layers.N.self_attn.v_proj"},
                              {"layers.N.attention.out", "model.decoder.layers.N.self_attn.out_proj"},
                              {"layers.N.mlp.up", "model.decoder.layers.N.fc1"},
                              {"layers.N.mlp.down", "model.decoder.layers.N.fc2"}};
  return stems;
}

const Stems& gpt2_stems() {
  static const Stems stems = {{"embedding", "transformer.wte"},
                              {"position", "transformer.wpe"},
                              {"norm", "transformer.ln_f"},
                              {"head", "lm_head"},
                              {"layers.N.norm1", "transformer.h.N.ln_1"},
                              {"layers.N.norm2", "transformer.h.N.ln_2"},
                              {"layers.N.attention.q", "transformer.h.N.attn.c_attn"},
                              {"layers.N.attention.k", "transformer.h.N.attn.c_attn"},
                              {"layers.N.attention.v", "transformer.h.N.attn.c_attn"},
                              {"layers.N.attention.out", "transformer.h.N.attn.c_proj"},
                              {"layers.N.mlp.up", "transformer.h.N.mlp.c_fc"},
                              {"layers.N.mlp.down", "transformer.h.N.mlp.c_proj"}};
  return stems;
}

const Stems& phi3_stems() {
  static const Stems stems = [] {
    Stems table = llama_stems();
    for (const char* part : {"q", "k", "v"}) {
      table[std::string("layers.N.attention.") + part] = "model.layers.N.self_attn.qkv_proj";
    }
    for (const char* part : {"gate", "up"}) {
      table[std::string("layers.N.mlp.") + part] = "model.layers.N.mlp.gate_up_proj";
    }
    return table;
  }();
  return stems;
}

const Stems& stems_of(const std::string& model_type) {
  if (model_type == "opt") return opt_stems();
  if (model_type == "gpt2") return gpt2_stems();
  return model_type == "phi3" ? phi3_stems() : llama_stems();
}

// "layers.12.mlp.up" -> {"layers.N.mlp.up", "12"}.
std::pair<std::string, std::string> split_layer(const std::string& stem) {
  if (!stem.starts_with("layers.")) return {stem, ""};
  const size_t first = std::string("layers.").size();
  const size_t dot = stem.find('.', first);
  return {"layers.N" + stem.substr(dot), stem.substr(first, dot - first)};
}

// Rows of ours within a fused matrix of theirs: queries, keys, values; or gate, up.
void set_rows(const LanguageConfig& config, const std::string& stem, Place& place) {
  const DecoderOptions& options = config.options;
  const int64_t queries = options.heads * options.resolved_head_dim();
  const int64_t keys = options.resolved_kv_heads() * options.resolved_head_dim();
  const int64_t hidden = options.resolved_mlp_width();
  const std::map<std::string, std::pair<int64_t, int64_t>> parts = {{"layers.N.attention.q", {0, queries}},
                                                                    {"layers.N.attention.k", {queries, keys}},
                                                                    {"layers.N.attention.v", {queries + keys, keys}},
                                                                    {"layers.N.mlp.gate", {0, hidden}},
                                                                    {"layers.N.mlp.up", {hidden, hidden}}};
  const auto part = parts.find(stem);
  const bool fused =
      config.model_type == "phi3" || (config.model_type == "gpt2" && stem.find(".attention.") != stem.npos);
  if (fused && part != parts.end()) std::tie(place.first_row, place.rows) = part->second;
}

Place place_of(const LanguageConfig& config, const std::string& name) {
  const std::string stem = split_layer(name.substr(0, name.rfind('.'))).first;
  Place place;
  place.name = weight_name(config.model_type, name);
  set_rows(config, stem, place);
  const bool linear = stem.starts_with("layers.N.attention.") || stem.starts_with("layers.N.mlp.");
  place.transposed = config.model_type == "gpt2" && linear && name.ends_with(".weight");
  if (config.model_type == "opt" && stem == "position") place.first_row = 2;  // positions count from 2
  return place;
}

// Files that were saved without the head carry shorter names.
std::string name_in(const WeightFiles& files, const std::string& name) {
  if (files.contains(name)) return name;
  for (const std::string prefix : {"transformer.", "model."}) {
    if (name.starts_with(prefix) && files.contains(name.substr(prefix.size()))) return name.substr(prefix.size());
  }
  return name;
}

}  // namespace

LanguageConfig read_language_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  base::check(std::filesystem::is_directory(folder), "{}: expected a model folder", folder.string());
  base::check(std::filesystem::exists(path), "{}: not a model folder: config.json is missing", folder.string());
  const Json json = read_json(path);
  const JsonFields own(json, path.string());
  LanguageConfig config;
  config.model_type = own.text("model_type", "");
  const ReadConfig read = config_reader(config.model_type);
  base::check(read != nullptr, "{}: model_type '{}' is not one we know: {}", path.string(),
              base::printable(config.model_type), base::enumerate_names(language_families()));
  base::check(!own.has("quantization_config"), "{}: quantised weights are not supported; expected f32, f16 or bf16",
              path.string());
  const Json merged = with_defaults(json, config.model_type, path.string());
  read(JsonFields(merged, path.string()), config);
  // The defaults of these name tokens of other vocabularies.
  config.bos_ids = own.integers("bos_token_id");
  config.eos_ids = own.integers("eos_token_id");
  // Beyond these no model goes; they keep sums of products within 64 bits.
  for (const int64_t size : {config.options.width, config.options.layers, config.options.heads,
                             config.options.resolved_kv_heads(), config.options.vocabulary, config.context}) {
    base::check(size > 0 && size < (int64_t{1} << 31), "{}: expected sizes from 1 to 2^31, got {}", path.string(),
                size);
  }
  const std::string problem = config.options.validate();
  base::check(problem.empty(), "{}: {}", path.string(), problem);
  return config;
}

Tensor find_weight(const LanguageConfig& config, const WeightFiles& files, const std::string& name) {
  const Place place = place_of(config, name);
  std::string theirs = name_in(files, place.name);
  // One of two tied names is enough.
  const std::string head = weight_name(config.model_type, "head.weight");
  if (name == "embedding.weight" && config.options.tied_embeddings && !files.contains(theirs) && files.contains(head)) {
    theirs = head;
  }
  Tensor tensor = files.tensor(theirs);
  const auto type = tensor.scalar_type();
  base::check(type == torch::kFloat32 || type == torch::kFloat16 || type == torch::kBFloat16,
              "tensor '{}': expected float32, float16 or bfloat16, got {}", place.name, torch::toString(type));
  if (place.transposed) tensor = tensor.t();
  if (place.first_row > 0 || place.rows >= 0) {
    const int64_t rows = place.rows >= 0 ? place.rows : tensor.size(0) - place.first_row;
    base::check(tensor.dim() >= 1 && place.first_row + rows <= tensor.size(0),
                "tensor '{}': expected at least {} rows, got [{}]", place.name, place.first_row + rows,
                fmt::join(tensor.sizes(), ", "));
    tensor = tensor.narrow(0, place.first_row, rows);
  }
  if (tensor.dim() < 2) return tensor.to(torch::kFloat32).contiguous();
  return place.transposed ? tensor.contiguous() : tensor;
}

std::string settle_head(LanguageConfig& config, const WeightFiles& files) {
  if (!config.options.tied_embeddings) return "";
  const std::string head = weight_name(config.model_type, "head.weight");
  const std::string embedding = name_in(files, weight_name(config.model_type, "embedding.weight"));
  if (!files.contains(head) || !files.contains(embedding)) return "";
  const Tensor a = files.tensor(head), b = files.tensor(embedding);
  if (a.scalar_type() == b.scalar_type() && torch::equal(a, b)) return "";
  config.options.tied_embeddings = false;
  return fmt::format("config.json ties the head to the embeddings, but '{}' holds other values than '{}': it is used",
                     head, embedding);
}

std::string weight_name(const std::string& model_type, const std::string& name) {
  const size_t dot = name.rfind('.');
  const auto [stem, layer] = split_layer(name.substr(0, dot));
  const Stems& stems = stems_of(model_type);
  const auto found = stems.find(stem);
  INCONTEXT_ASSERT(found != stems.end());
  std::string theirs = found->second + name.substr(dot);
  if (const size_t number = theirs.find(".N."); number != std::string::npos) theirs.replace(number + 1, 1, layer);
  return theirs;
}

bool is_not_a_parameter(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with("rotary_emb.inv_freq") ||
         name == "lm_head.weight";
}

}  // namespace incontext::models
