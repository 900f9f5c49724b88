#pragma once

#include <vector>

#include "base/record.h"
#include "report/page.h"
#include "report/table.h"

// What `incontext eval --cache` measured (eval/cache/results.h names its records).

namespace incontext::report {

/// Per model, context and policy how far predictions are from those of the full cache, beside the bytes.
Table divergence_table(const std::vector<base::Record>& merged);

/// The same rows' bytes that are held once, and times.
Table cache_cost_table(const std::vector<base::Record>& merged);

/// How long greedy continuations stay those of the full cache.
Table continuation_table(const std::vector<base::Record>& merged);

/// Accuracy, a column for each task and for whether the question was known when the context was compressed.
Table retrieval_table(const std::vector<base::Record>& merged);

/// Divergence against bytes, divergence against position, retrieval against depth; those that have plots.
std::vector<Section> cache_sections(const std::vector<base::Record>& merged);

}  // namespace incontext::report
