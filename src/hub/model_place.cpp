#include "hub/model_place.h"

#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "hub/cache.h"
#include "hub/url.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kForms = "a folder, org/name or org/name@revision";

}  // namespace

fs::path find_model(const std::string& model, const FindOptions& options) {
  const Environment& environment = options.transfer.environment;
  const std::string shown = base::printable(model);
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) return model;
  base::check(!fs::exists(model, ignored), "{}: expected {}, got a file", shown, kForms);

  const std::optional<ModelName> name = parse_model_name(model);
  base::check(name.has_value(), "{}: no such folder (expected {})", shown, kForms);
  base::check(!environment.cache.empty() || options.download,
              "{}: no such folder, and no cache to look into: set HF_HOME or HF_HUB_CACHE", shown);
  const CachedModel cached =
      environment.cache.empty() ? CachedModel{.problem = "there is no cache"} : find_cached(environment.cache, *name);
  if (cached.problem.empty()) return cached.snapshot;

  base::check(options.download, "{}: no such folder, and {}; {} fetches it from {}", shown, cached.problem,
              options.download_flag, shown_url(environment.endpoint));
  base::check(!environment.offline,
              "{}: no such folder, and {}; HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids to fetch it", shown,
              cached.problem);
  return download_model(*name, options.transfer);
}

}  // namespace incontext::hub
