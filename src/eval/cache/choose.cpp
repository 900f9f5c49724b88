#include "eval/cache/choose.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/text.h"

namespace incontext::eval {

double parse_share(const std::string& text) {
  double percent = 0;
  char end = 0;
  const bool read = std::sscanf(text.c_str(), "%lf%c", &percent, &end) == 2;  // NOLINT(cert-err34-c)
  base::check(read && end == '%' && text.back() == '%' && percent > 0 && percent <= 100,
              "--budget: expected a share of the full cache's bytes such as 25%, got '{}'", base::printable(text));
  return percent / 100;
}

const LanguageRow* choose_policy(const std::vector<LanguageRow>& rows, const Limit& limit) {
  int64_t longest = 0;
  for (const LanguageRow& row : rows) longest = std::max(longest, row.context);
  const auto order = [&](const LanguageRow& row) {
    return limit.share ? std::tuple(row.summary.kl_mean, row.bytes_per_token)
                       : std::tuple(row.bytes_per_token, row.summary.kl_mean);
  };
  const LanguageRow* best = nullptr;
  for (const LanguageRow& row : rows) {
    if (row.context != longest) continue;
    if (limit.share && row.share_of_full > *limit.share) continue;
    if (limit.loss && !(row.kl.high <= *limit.loss)) continue;
    if (best == nullptr || order(row) < order(*best)) best = &row;
  }
  return best;
}

}  // namespace incontext::eval
