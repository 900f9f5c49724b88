#include "cache/policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace incontext::cache {

CachePolicy parse_policy(const std::string& text) {
  const std::string example = "full:bf16";
  if (!text.starts_with("k=") && !text.starts_with("v=")) return base::parse_spec(text, "cache policy", example);
  // Keys and values apart, as llama.cpp's -ctk and -ctv: an option of the kind that keys have.
  CachePolicy policy;
  try {
    policy = base::parse_spec("keys:" + text, "cache policy", example);
  } catch (const base::Error&) {
    base::fail("cache policy '{}': expected k=KIND,v=KIND and options, for example k=q8_0,v=q4_0", text);
  }
  base::check(policy.values.contains("k") && policy.values.contains("v") && !policy.values.contains("values"),
              "cache policy '{}': expected k=KIND,v=KIND and options, for example k=q8_0,v=q4_0", text);
  policy.kind = policy.values.at("k");
  if (policy.values.at("v") != policy.kind) policy.values["values"] = policy.values.at("v");
  policy.values.erase("k");
  policy.values.erase("v");
  return policy;
}

}  // namespace incontext::cache
