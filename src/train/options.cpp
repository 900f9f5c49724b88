#include "train/options.h"

#include <filesystem>

#include "train/objectives/objective.h"

namespace incontext::train {

void ObjectiveOptions::read(const base::ConfigNode& node, const std::string& key) {
  if (node.kind != base::ConfigNode::Kind::mapping) {
    values = base::Json::object();
    base::detail::read_scalar(node, key, {}, name);
    if (!name.empty()) values = objectives().at(name, fmt::format("{}: {}", node.where, key)).read_options({}, "");
    return;
  }
  base::ConfigNode own = node;
  const base::ConfigNode* given = node.find("name");
  base::check(given != nullptr, "{}: {}: expected a name beside its options", node.where, key);
  base::detail::read_scalar(*given, key + ".name", {}, name);
  std::erase_if(own.entries, [](const auto& entry) { return entry.first == "name"; });
  values = objectives().at(name, fmt::format("{}: {}.name", given->where, key)).read_options(own, key + ".");
}

void RunOptions::resolve() {
  std::string& weights = training.initial_weights;
  if (!weights.empty()) weights = std::filesystem::absolute(weights).lexically_normal().string();
  if (objective.name.empty()) objective.name = task.default_objective();
  const ObjectiveKind& kind = objectives().at(objective.name, "objective");
  objective.values = kind.read_options(base::config_from_json(objective.values, "objective"), "objective.");
  if (kind.resolve != nullptr) kind.resolve(*this);
}

std::string RunOptions::validate() const {
  RunOptions named = *this;
  if (named.objective.name.empty()) named.objective.name = task.default_objective();
  const ObjectiveKind& kind = objectives().at(named.objective.name, "objective");
  return kind.problem == nullptr ? "" : kind.problem(named);
}

}  // namespace incontext::train
