#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace incontext::hub {

struct HubFile {
  std::string name;
  std::optional<uint64_t> size = {};  // bytes, where the hub tells
  std::string etag = {};              // the digest that names the blob, where the hub tells
};

struct Listing {
  std::string commit;  // the full one that the revision names now
  std::vector<HubFile> files;
};

/// Reads the hub's answer about a revision (GET /api/models/{id}/revision/{revision}?blobs=true). `where` begins the
/// message of the Error that an answer of another form is, one without a full commit, or one with a file whose name
/// would leave the folder it is put into.
Listing read_listing(std::string_view json, const std::string& where);

/// The files that running the model takes, weights last, each group in alphabetical order: configurations, tokenizer,
/// chat template, and safetensors. Other formats of weights and everything in subfolders stay behind; so do the
/// consolidated.* twins, the index and the shards where model.safetensors (or, for the twins, its index) is there.
std::vector<HubFile> select_for_inference(const std::vector<HubFile>& files);

}  // namespace incontext::hub
