#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/record.h"
#include "eval/baselines/bootstrap.h"
#include "eval/cache/divergence.h"

namespace incontext::eval {

/// Predictions `first` … `last` after the prompt (the first one is number 1).
struct PositionGroup {
  int64_t first = 0, last = 0;
  DivergenceSummary summary;
};

/// A policy on documents of one context, beside the full cache.
struct LanguageRow {
  std::string cache, kind;
  int64_t context = 0, documents = 0, scored = 0;
  // At the end of the prompt, once it is compressed.
  double bytes_per_token = 0;
  double share_of_full = 0;  // of the full cache's bytes
  int64_t fixed_bytes = 0;   // once for all sequences
  DivergenceSummary summary;
  Interval kl;  // over documents
  double full_perplexity = 0;
  std::vector<PositionGroup> by_position;
  // Medians, over documents or over steps.
  double read_seconds = 0, compress_seconds = 0;
  double decode_tokens_per_second = 0;
  double ratio_to_full = 0;  // of such speeds, in steps taken in turn
};

/// How long a greedy continuation under a policy stays that of the full cache.
struct FreeRow {
  std::string cache, kind;
  int64_t context = 0, documents = 0, generated = 0;
  Interval common_prefix;  // tokens, over documents
  double identical = 0;    // share of the documents
};

/// A policy's answers to the questions of one task.
struct RetrievalRow {
  struct Depth {
    double low = 0, high = 0;  // where in the context the answer stands: 0 its beginning, 1 its end
    double accuracy = 0;
    int64_t samples = 0;
  };

  std::string cache, kind;
  int64_t context = 0, samples = 0;
  std::string task;
  std::string question;  // "known" when the context is compressed, or "unknown"
  Interval accuracy;     // share of the wanted strings that the answer contains, over samples
  std::vector<Depth> depths;
};

/// All rows of a measurement, policies in the order in which they were asked for.
struct CacheResults {
  std::string model, texts, text_digest;
  std::vector<LanguageRow> language;
  std::vector<FreeRow> free;
  std::vector<RetrievalRow> retrieval;
  bool interrupted = false;  // then those of what was finished
};

/// One JSON object per row: what `incontext eval --json` prints as "results".
base::Json results_json(const CacheResults& results);

/// Every number of a row as a record.
std::vector<base::Record> records_of(const LanguageRow& row, const CacheResults& of);
std::vector<base::Record> records_of(const FreeRow& row, const CacheResults& of);
std::vector<base::Record> records_of(const RetrievalRow& row, const CacheResults& of);

}  // namespace incontext::eval
