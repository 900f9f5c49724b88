#include "models/checkpoint.h"

#include <set>

#include "base/error.h"
#include "base/machine.h"
#include "base/text.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;

struct Config {
  DecoderOptions options;
  int64_t input_dims = 0;
};

Config read_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  Json json;
  try {
    json = Json::parse(base::read_file(path));
  } catch (const Json::exception& error) {
    base::fail("{}: not valid JSON: {}", path.string(), error.what());
  }
  const auto text = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  base::check(text("model_type") == kModelType, "{}: expected model_type \"{}\", got \"{}\"", path.string(), kModelType,
              text("model_type"));
  Config config;
  base::check(json.contains("model") && json["model"].is_object(), "{}: expected an object 'model'", path.string());
  base::read_options(base::config_from_json(json["model"], path.string()), config.options);
  base::check(json.contains("input_dims") && json["input_dims"].is_number_integer() && json["input_dims"] > 0 &&
                  json["input_dims"] < (int64_t{1} << 31),
              "{}: expected input_dims, a positive whole number", path.string());
  config.input_dims = json["input_dims"];
  return config;
}

}  // namespace

void save_model(const Decoder& decoder, const fs::path& folder, const Json& extra) {
  Json json = {{"architectures", Json::array({"IncontextDecoder"})},
               {"model_type", kModelType},
               {"incontext_version", base::version()},
               {"torch_dtype", "float32"},
               {"input_dims", decoder.input_dims()},
               {"model", base::options_to_json(decoder.options())}};
  for (const auto& [key, value] : extra.items()) json[key] = value;
  tensor::NamedTensors tensors;
  for (const NamedTensor& parameter : decoder.parameters()) tensors[parameter.name] = parameter.tensor.detach();
  tensor::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  base::write_file_atomic(folder / "config.json", json.dump(2) + "\n");
}

Decoder load_model(const fs::path& folder, torch::Device device) {
  base::check(fs::is_directory(folder), "{}: expected a model folder", folder.string());
  const Config config = read_config(folder);
  // The sizes in config.json are believed only once the file of weights agrees: a hostile one must not make us
  // allocate what the file cannot hold.
  const tensor::SafetensorsFile file(folder / "model.safetensors");
  const auto bytes = static_cast<double>(fs::file_size(folder / "model.safetensors"));
  const DecoderOptions& options = config.options;
  const auto width = static_cast<double>(options.width);
  const double least = 4 * width *
                       (static_cast<double>(options.layers) * width +
                        (options.position == PositionType::learned ? static_cast<double>(options.max_positions) : 0.0) +
                        static_cast<double>(config.input_dims));
  base::check(least <= bytes, "{}: the model that config.json describes takes more than {}, the file has {}",
              (folder / "model.safetensors").string(), base::format_bytes(least), base::format_bytes(bytes));
  Decoder decoder(options, config.input_dims, /*seed=*/0, device);
  load_parameters(decoder, folder);
  return decoder;
}

void copy_checked(torch::Tensor& target, const torch::Tensor& source, const std::string& name,
                  const std::string& where) {
  base::check(source.scalar_type() == torch::kFloat32, "{}: tensor '{}': expected float32, got {}", where, name,
              torch::toString(source.scalar_type()));
  base::check(source.sizes() == target.sizes(), "{}: tensor '{}': expected shape [{}], got [{}]", where, name,
              fmt::join(target.sizes(), ", "), fmt::join(source.sizes(), ", "));
  torch::NoGradGuard no_gradients;
  target.copy_(source);
}

void load_parameters(Decoder& decoder, const fs::path& folder) {
  const fs::path path = folder / "model.safetensors";
  const tensor::SafetensorsFile file(path);
  std::set<std::string> unexpected(file.names().begin(), file.names().end());
  for (NamedTensor& parameter : decoder.parameters()) {
    base::check(file.contains(parameter.name), "{}: tensor '{}' is missing", path.string(), parameter.name);
    copy_checked(parameter.tensor, file.tensor(parameter.name), parameter.name, path.string());
    unexpected.erase(parameter.name);
  }
  base::check(unexpected.empty(), "{}: unexpected tensor '{}'", path.string(),
              unexpected.empty() ? "" : *unexpected.begin());
}

}  // namespace incontext::models
