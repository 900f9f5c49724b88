#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/cache/results.h"

namespace incontext::eval {

/// What a policy must keep to: a share of the full cache's bytes, or a divergence.
struct Limit {
  std::optional<double> share;  // of the full cache's bytes
  std::optional<double> loss;   // nats, that the upper end of the interval of kl_mean must not exceed
};

/// Reads "25%". Anything else is an Error.
double parse_share(const std::string& text);

/// Of the longest context (where memory counts most): within a share of bytes the policy with the smallest divergence,
/// of equal ones the smaller one; within a loss the smallest policy. The full cache's own row is passed over by a share
/// that it exceeds as any other's. Null where no row keeps to the limit.
const LanguageRow* choose_policy(const std::vector<LanguageRow>& rows, const Limit& limit);

}  // namespace incontext::eval
