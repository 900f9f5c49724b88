#include "hub/listing.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "hub/model_name.h"

namespace incontext::hub {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kWeights = ".safetensors";

bool is_text_part(std::string_view name) {
  static const std::set<std::string_view> names = {
      "config.json",      "generation_config.json",  "tokenizer.model",     "vocab.json",
      "merges.txt",       "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
      "added_tokens.json"};
  return names.contains(name) || (name.starts_with("tokenizer") && name.ends_with(".json"));
}

std::string text_of(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string()) return "";
  return object[key].get<std::string>();
}

std::optional<uint64_t> number_of(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number_unsigned()) return std::nullopt;
  return object[key].get<uint64_t>();
}

HubFile read_file_entry(const Json& entry, const std::string& where) {
  HubFile file{.name = text_of(entry, "rfilename")};
  base::check(is_safe_relative(file.name), "{}: the hub lists a file named '{}', which would leave its folder", where,
              base::clip(base::printable(file.name), 100));
  file.size = number_of(entry, "size");
  file.etag = text_of(entry, "blobId");
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    file.etag = text_of(entry["lfs"], "sha256");
    if (!file.size) file.size = number_of(entry["lfs"], "size");
  }
  if (!is_safe_relative(file.etag) || file.etag.find('/') != std::string::npos) file.etag.clear();
  return file;
}

}  // namespace

Listing read_listing(std::string_view json, const std::string& where) {
  const Json document = Json::parse(json, nullptr, false);
  base::check(document.is_object(), "{}: expected a JSON object about the revision, got '{}'", where,
              base::clip(base::printable(json.substr(0, 400)), 60));
  Listing listing{.commit = text_of(document, "sha"), .files = {}};
  base::check(is_commit(listing.commit), "{}: expected the revision's commit as 40 hexadecimal digits, got '{}'", where,
              base::clip(base::printable(listing.commit), 60));
  base::check(document.contains("siblings") && document["siblings"].is_array(), "{}: expected a list of files", where);
  for (const Json& entry : document["siblings"]) listing.files.push_back(read_file_entry(entry, where));
  return listing;
}

std::vector<HubFile> select_for_inference(const std::vector<HubFile>& files) {
  const auto has = [&](std::string_view name) {
    return std::any_of(files.begin(), files.end(), [&](const HubFile& file) { return file.name == name; });
  };
  const bool one_file = has("model.safetensors");
  const bool has_index = has("model.safetensors.index.json");
  const auto is_wanted = [&](std::string_view name) {
    if (name.find('/') != std::string_view::npos) return false;
    if (is_text_part(name)) return true;
    const bool is_index = name.ends_with(".safetensors.index.json");
    if (!name.ends_with(kWeights) && !is_index) return false;
    if (name.starts_with("consolidated") && (one_file || has_index)) return false;
    return !one_file || name == "model.safetensors";
  };
  std::vector<HubFile> wanted;
  for (const HubFile& file : files) {
    if (is_wanted(file.name)) wanted.push_back(file);
  }
  // Small files first: what is wrong with them is told before gigabytes have come.
  std::sort(wanted.begin(), wanted.end(), [](const HubFile& a, const HubFile& b) {
    const bool a_weights = a.name.ends_with(kWeights), b_weights = b.name.ends_with(kWeights);
    return a_weights != b_weights ? b_weights : a.name < b.name;
  });
  return wanted;
}

}  // namespace incontext::hub
