#pragma once

#include <string>
#include <vector>

#include "cache/policy.h"

namespace incontext::cache {

/// Reads the options of a policy one by one; what nobody asked for is an Error of finish() that lists what there is.
class PolicyOptions {
 public:
  explicit PolicyOptions(const CachePolicy& policy) : policy_(policy) {}

  /// The option `name`, or `otherwise` where it is not given. What is no number of this range is an Error.
  int64_t integer(const std::string& name, int64_t otherwise, int64_t least, int64_t most);
  double number(const std::string& name, double otherwise, double least, double most);
  std::string text(const std::string& name, const std::string& otherwise = "");
  /// One of some words; the first is what holds where the option is not given.
  std::string choice(const std::string& name, const std::vector<std::string>& words);
  bool given(const std::string& name) const { return policy_.values.contains(name); }
  void finish() const;

  /// An Error that quotes the policy.
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  const std::string* find(const std::string& name);

  const CachePolicy& policy_;
  std::vector<std::string> names_;  // in the order in which they were asked for
};

/// The text of a policy of a kind with these options, always in one order.
std::string policy_text(const std::string& kind, std::vector<std::string> options);

}  // namespace incontext::cache
