#include "models/llama_folder.h"

#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "models/checkpoint.h"
#include "models/families.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;
using torch::Tensor;

constexpr const char* kPacked = "attention.qkv.";

// The three parts of a packed matrix of queries, keys and values: our names, and their rows.
struct Part {
  std::string name;
  int64_t rows;
};

std::array<Part, 3> parts_of(const std::string& packed, const DecoderOptions& options) {
  const size_t at = packed.find(kPacked);
  const std::string prefix = packed.substr(0, at) + "attention.";
  const std::string suffix = packed.substr(at + std::string(kPacked).size() - 1);
  const int64_t queries = options.heads * options.resolved_head_dim();
  const int64_t keys = options.resolved_kv_heads() * options.resolved_head_dim();
  return {Part{prefix + "q" + suffix, queries}, Part{prefix + "k" + suffix, keys}, Part{prefix + "v" + suffix, keys}};
}

bool is_packed(const std::string& name) { return name.find(kPacked) != std::string::npos; }

Json llama_config(const DecoderOptions& options, const LlamaFolderOptions& folder) {
  Json json = {{"architectures", Json::array({"LlamaForCausalLM"})},
               {"model_type", "llama"},
               {"torch_dtype", "float32"},
               {"vocab_size", options.vocabulary},
               {"hidden_size", options.width},
               {"intermediate_size", options.resolved_mlp_width()},
               {"num_hidden_layers", options.layers},
               {"num_attention_heads", options.heads},
               {"num_key_value_heads", options.resolved_kv_heads()},
               {"head_dim", options.resolved_head_dim()},
               {"hidden_act", "silu"},
               {"max_position_embeddings", options.max_positions},
               {"rms_norm_eps", options.norm_epsilon},
               {"rope_theta", options.rope_theta},
               {"attention_bias", options.qkv_bias},
               {"mlp_bias", options.mlp_bias},
               {"tie_word_embeddings", options.tied_embeddings},
               {"initializer_range", options.init_std},
               {"use_cache", true},
               {"incontext_version", base::version()}};
  // Without these keys transformers takes the tokens 1 and 2.
  json["bos_token_id"] = folder.bos_id ? Json(*folder.bos_id) : Json(nullptr);
  json["eos_token_id"] = folder.eos_id ? Json(*folder.eos_id) : Json(nullptr);
  for (const auto& [key, value] : folder.extra.items()) json[key] = value;
  return json;
}

Json generation_config(const LlamaFolderOptions& folder) {
  Json json = {{"_from_model_config", true}};
  if (folder.bos_id) json["bos_token_id"] = *folder.bos_id;
  if (folder.eos_id) json["eos_token_id"] = *folder.eos_id;
  return json;
}

}  // namespace

std::string llama_problem(const DecoderOptions& options) {
  const auto expect = [](bool fits, const char* what) { return fits ? "" : what; };
  for (const char* problem :
       {expect(options.norm == "rms", "model.norm: expected rms"),
        expect(options.norm_place == "before", "model.norm_place: expected before"),
        expect(options.final_norm, "model.final_norm: expected true"),
        expect(options.position == "rotary", "model.position: expected rotary"),
        expect(options.rotary_fraction == 1, "model.rotary_fraction: expected 1"),
        expect(options.rope_scaling.type == "none", "model.rope_scaling.type: expected none"),
        expect(options.mlp == base::OneOrMore<std::string>{"gated"}, "model.mlp: expected gated"),
        expect(options.mixers == base::OneOrMore<std::string>{"attention"}, "model.mixers: expected attention"),
        expect(!options.bias, "model.bias: expected false"),
        expect(options.qkv_bias == options.out_bias, "model.qkv_bias and model.out_bias: expected the same"),
        expect(!options.qk_norm, "model.qk_norm: expected false"),
        expect(options.scale_scores, "model.scale_scores: expected true"),
        expect(!options.scale_by_layer, "model.scale_by_layer: expected false"),
        expect(options.sliding_window == 0, "model.sliding_window: expected 0"),
        expect(options.resolved_token_width() == options.width, "model.token_width: expected the model's width"),
        expect(!options.looped(), "model.loop.count: expected 0")}) {
    if (*problem != '\0') return problem;
  }
  return "";
}

void save_llama(const Decoder& decoder, const fs::path& folder, const LlamaFolderOptions& options) {
  INCONTEXT_ASSERT(llama_problem(decoder.options()).empty());
  tensor::NamedTensors tensors;
  for (const NamedTensor& parameter : decoder.parameters()) {
    const Tensor values = parameter.tensor.detach();
    if (!is_packed(parameter.name)) {
      tensors[weight_name("llama", parameter.name)] = values;
      continue;
    }
    int64_t first = 0;
    for (const Part& part : parts_of(parameter.name, decoder.options())) {
      tensors[weight_name("llama", part.name)] = values.narrow(0, first, part.rows);
      first += part.rows;
    }
  }
  tensor::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  base::write_file_atomic(folder / "generation_config.json", generation_config(options).dump(2) + "\n");
  base::write_file_atomic(folder / "config.json", llama_config(decoder.options(), options).dump(2) + "\n");
}

void load_language_parameters(Decoder& decoder, const fs::path& folder) {
  LanguageConfig config = read_language_config(folder);
  const WeightFiles files(folder);
  settle_head(config, files);
  const DecoderOptions& options = decoder.options();
  base::check(config.options.layers == options.layers, "{}: expected {} layers, got {}", folder.string(),
              options.layers, config.options.layers);
  base::check(!options.tied_embeddings || config.options.tied_embeddings,
              "{}: it has a head of its own; expected model.tied_embeddings false", folder.string());
  torch::NoGradGuard no_gradients;
  for (NamedTensor& parameter : decoder.parameters()) {
    Tensor source;
    if (is_packed(parameter.name)) {
      std::vector<Tensor> parts;
      for (const Part& part : parts_of(parameter.name, options)) {
        parts.push_back(find_weight(config, files, part.name).to(torch::kFloat32));
        base::check(parts.back().size(0) == part.rows, "{}: '{}': expected {} rows, got {}", folder.string(), part.name,
                    part.rows, parts.back().size(0));
      }
      source = torch::cat(parts);
    } else {
      source = find_weight(config, files, parameter.name).to(torch::kFloat32);
    }
    copy_checked(parameter.tensor, source, parameter.name, folder.string());
  }
}

}  // namespace incontext::models
