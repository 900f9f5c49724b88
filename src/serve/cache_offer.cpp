#include "serve/cache_offer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cache/kind.h"

namespace incontext::serve {

CacheOffer::CacheOffer(std::vector<Given> given, std::vector<std::string> kinds)
    : given_(std::move(given)), kinds_(std::move(kinds)) {
  INCONTEXT_ASSERT(!given_.empty());
  for (size_t i = 0; i < given_.size(); ++i) {
    for (size_t other = 0; other < i; ++other) {
      base::check(given_[i].policy != given_[other].policy, "cache policies '{}' and '{}' are the same",
                  given_[other].text, given_[i].text);
    }
    names_.push_back(given_[i].text);
  }
  for (const std::string& kind : kinds_) {
    if (std::find(names_.begin(), names_.end(), kind) == names_.end()) names_.push_back(kind);
  }
}

bool CacheOffer::open_to_all(const std::string& kind) const {
  return std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end();
}

void CacheOffer::refuse(const std::string& text, const std::string& why) const {
  std::vector<std::string> given;
  for (const std::string& name : names_) {
    if (!open_to_all(name)) given.push_back(name);
  }
  const std::string policies = fmt::format("{}", fmt::join(given, ", "));
  const std::string kinds = kinds_.empty() ? "" : fmt::format("the kinds {} with any options", fmt::join(kinds_, ", "));
  base::fail("cache policy '{}' is not offered here{}; offered: {}{}{}", base::printable(text), why, policies,
             policies.empty() || kinds.empty() ? "" : ", and ", kinds);
}

cache::CachePolicy CacheOffer::find(const std::string& text) const {
  const cache::CachePolicy asked = cache::parse_policy(text);
  if (open_to_all(asked.kind)) return asked;
  const Given* found = nullptr;
  size_t same_kind = 0;
  const bool bare = asked.words.empty() && asked.values.empty();
  for (const Given& each : given_) {
    const cache::CachePolicy given = cache::parse_policy(each.text);
    if (given.text() == asked.text() || each.policy == asked.text()) return cache::parse_policy(each.policy);
    if (given.kind != asked.kind) continue;
    ++same_kind;
    found = &each;
  }
  if (bare && same_kind == 1) return cache::parse_policy(found->policy);
  if (bare && same_kind > 1) refuse(text, fmt::format(": {} of that kind are, name one in full", same_kind));
  const std::string near = same_kind > 0 ? "" : base::nearest_name(asked.kind, names_);
  refuse(text, near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
}

std::vector<std::string> kinds_without_files() {
  std::vector<std::string> kinds;
  for (const std::string& name : cache::cache_kinds().names()) {
    if (!cache::cache_kinds().find(name)->opens_files) kinds.push_back(name);
  }
  return kinds;
}

}  // namespace incontext::serve
