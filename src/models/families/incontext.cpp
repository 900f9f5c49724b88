#include "base/error.h"
#include "base/options.h"
#include "models/families/rows.h"

// Decoders of tokens that transformers does not know, such as those with other mixers than attention: config.json holds
// our options as they are, and the files our names.

namespace incontext::models {
namespace {

void read_incontext(const JsonFields& json, LanguageConfig& config) {
  const std::optional<JsonFields> model = json.object("model");
  base::check(model.has_value(), "{}: expected an object 'model'", json.where());
  base::read_options(base::config_from_json(model->json(), json.where()), config.options);
  base::check(config.options.tokens.vocabulary > 0, "{}: this model reads vectors (input_dims {}), not tokens",
              json.where(), json.integer("input_dims", 0));
  config.context = config.options.max_positions;
}

std::string problem_of_incontext(const DecoderOptions& options) {
  return options.tokens.vocabulary > 0 ? "" : "model.tokens.vocabulary: expected at least 1";
}

base::Json write_incontext(const DecoderOptions& options) {
  return {{"input_dims", 0}, {"model", base::options_to_json(options)}};
}

}  // namespace

Family incontext_family() {
  Family family;
  family.name = "incontext";
  family.architecture = "IncontextDecoder";
  family.obeyed = {"model", "input_dims", "run", "torch_dtype"};
  family.read = read_incontext;
  family.problem = problem_of_incontext;
  family.write = write_incontext;
  return family;
}

}  // namespace incontext::models
