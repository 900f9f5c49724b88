// Policies on a small model, beside the full cache; and what is chosen among them.

#include "eval/cache/measure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "cache/kind.h"
#include "eval/cache/choose.h"
#include "eval/cache/retrieval.h"
#include "models/language_folder.h"
#include "models/small_llama.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "text/byte_tokenizer.h"

namespace incontext::eval {
namespace {

using cache::CacheShape;
using cache::Rows;
using testing::error_of;

std::vector<int64_t> lengths_at_end_of_prompt;

/// Exact while the prompt is read; at its end every key and value is rounded to a multiple of `step`. A large step
/// leaves nothing of them: the negative control.
class RoundedCache : public cache::KvCache {
 public:
  RoundedCache(std::shared_ptr<const cache::CacheKind> kind, const CacheShape& shape, float step)
      : KvCache(std::move(kind), shape),
        step_(step),
        inner_(cache::make_cache(cache::parse_policy("full"), shape)),
        kept_(static_cast<size_t>(shape.layers)) {}

  int64_t bytes() const override { return compressed_ ? inner_->bytes() / 4 : inner_->bytes(); }
  void attend(int64_t layer, const Rows& queries, int64_t count, const cache::Scores& scores, float* out,
              int64_t out_stride) const override {
    inner_->attend(layer, queries, count, scores, out, out_stride);
  }
  void end_of_prompt() override {
    lengths_at_end_of_prompt.push_back(length());
    compressed_ = true;
    inner_ = filled(shape(), step_);
  }
  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override {
    base::check(length == this->length(), "rounded: expected the length it has");
    CacheShape larger = shape();
    larger.capacity = capacity;
    auto copy = std::make_unique<RoundedCache>(shared_kind(), larger, step_);
    copy->kept_ = kept_;
    copy->compressed_ = compressed_;
    copy->set_length(length);
    copy->inner_ = filled(larger, compressed_ ? step_ : 0);
    return copy;
  }
  bool can_truncate() const override { return false; }
  tensor::NamedTensors to_tensors() const override { return {}; }
  void from_tensors(const tensor::SafetensorsFile&, const std::string&, const std::string&) override {}

 private:
  struct Layer {
    std::vector<float> keys, values;
  };

  int64_t row() const { return shape().kv_heads * shape().head_dim; }
  std::unique_ptr<KvCache> filled(const CacheShape& shape, float step) const {
    auto cache = cache::make_cache(cache::parse_policy("full"), shape);
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      Layer rows = kept_[static_cast<size_t>(layer)];
      for (std::vector<float>* each : {&rows.keys, &rows.values}) {
        for (float& value : *each) value = step > 0 ? step * std::round(value / step) : value;
      }
      cache->append(layer, {rows.keys.data(), row()}, {rows.values.data(), row()}, length());
    }
    return cache;
  }
  void store(int64_t layer, const Rows& keys, const Rows& values, int64_t, int64_t count) override {
    inner_->append(layer, keys, values, count);
    Layer& kept = kept_[static_cast<size_t>(layer)];
    for (int64_t i = 0; i < count; ++i) {
      kept.keys.insert(kept.keys.end(), keys.data + i * keys.stride, keys.data + i * keys.stride + row());
      kept.values.insert(kept.values.end(), values.data + i * values.stride, values.data + i * values.stride + row());
    }
  }
  void forget(int64_t) override {}

  float step_;
  bool compressed_ = false;
  std::unique_ptr<KvCache> inner_;
  std::vector<Layer> kept_;
};

class RoundedKind : public cache::CacheKind, public std::enable_shared_from_this<RoundedKind> {
 public:
  explicit RoundedKind(const cache::CachePolicy& policy)
      : policy_(policy), step_(std::stof(policy.values.at("step"))) {}
  std::string policy() const override { return policy_.text(); }
  std::unique_ptr<cache::KvCache> make(const CacheShape& shape) const override {
    return std::make_unique<RoundedCache>(shared_from_this(), shape, step_);
  }
  int64_t bytes(const CacheShape& shape) const override { return shape.capacity; }
  int64_t fixed_bytes() const override { return 321; }

 private:
  cache::CachePolicy policy_;
  float step_;
};

const bool kRoundedRegistered = [] {
  cache::cache_kinds().add(
      {"rounded", "rounds to multiples of step", [](const cache::CachePolicy& policy, const auto&) {
         return std::shared_ptr<const cache::CacheKind>(std::make_shared<RoundedKind>(policy));
       }});
  return true;
}();

class CacheMeasurement : public ::testing::Test {
 protected:
  CacheMeasurement() {
    const models::DecoderOptions options = testing::small_llama(/*vocabulary=*/300, /*context=*/1000);
    models::save_language_folder(models::Decoder(options, 0, 3, torch::kCPU), folder_.path(), {});
    base::write_file_atomic(folder_ / "tokenizer.json", text::byte_tokenizer_json());
    base::write_file_atomic(folder_ / "tokenizer_config.json", text::byte_tokenizer_config_json());
    opened_ = decode::open_model(folder_.path(), {});
    std::string text;
    for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + i * i % 26);
    base::write_file_atomic(folder_ / "one.txt", text);
    base::write_file_atomic(folder_ / "two.txt", std::string(text.rbegin(), text.rend()) + text);
    options_.policies = {"full", "rounded:step=0.05", "rounded:step=1000"};
    options_.texts = {(folder_ / "one.txt").string(), (folder_ / "two.txt").string()};
    options_.contexts = {40, 90};
    options_.documents = 4;
    options_.scored = 40;
    options_.generated = 20;
  }
  CacheResults measure(const CacheEvaluationEvents& events = {}) const {
    return measure_caches(opened_, options_, events);
  }

  testing::TemporaryDirectory folder_;
  decode::OpenedModel opened_;
  CacheEvaluationOptions options_;
};

TEST_F(CacheMeasurement, OfTheFullCacheIsZeroAndOfLossyOnesIsNot) {
  const CacheResults results = measure();
  ASSERT_EQ(results.language.size(), 6U);
  for (size_t context = 0; context < 2; ++context) {
    const LanguageRow &full = results.language[3 * context], &fine = results.language[3 * context + 1],
                      &nothing = results.language[3 * context + 2];
    EXPECT_EQ(full.context, options_.contexts[context]);
    EXPECT_EQ(full.summary.positions, 4 * 40);
    EXPECT_EQ(full.summary.kl_mean, 0);
    EXPECT_EQ(full.summary.kl_p999, 0);
    EXPECT_EQ(full.kl.high, 0);
    EXPECT_EQ(full.summary.same_top, 1);
    EXPECT_EQ(full.summary.perplexity, full.full_perplexity);
    EXPECT_EQ(full.share_of_full, 1);
    EXPECT_EQ(full.fixed_bytes, 0);
    EXPECT_GT(fine.summary.kl_mean, 0);
    EXPECT_LE(fine.kl.low, fine.summary.kl_mean);
    EXPECT_GE(fine.kl.high, fine.summary.kl_mean);
    EXPECT_LT(fine.kl.low, fine.kl.high);
    EXPECT_GT(nothing.summary.kl_mean, 20 * fine.summary.kl_mean) << "the negative control must look terrible";
    EXPECT_LT(nothing.summary.same_top, fine.summary.same_top);
    EXPECT_GT(nothing.summary.kl_p999, nothing.summary.kl_median);
    EXPECT_NEAR(fine.share_of_full, 0.25, 1e-3);
    EXPECT_NEAR(fine.bytes_per_token * 4, full.bytes_per_token, 1e-3 * full.bytes_per_token);
    EXPECT_EQ(fine.fixed_bytes, 321);
    EXPECT_GT(fine.compress_seconds, 0);
    EXPECT_GT(fine.read_seconds, 0);
    EXPECT_GT(fine.decode_tokens_per_second, 0);
    EXPECT_GT(fine.ratio_to_full, 0);
  }
  for (const FreeRow& row : results.free) {
    if (row.cache == "full") {
      EXPECT_EQ(row.common_prefix.mean, 20);
      EXPECT_EQ(row.identical, 1);
    }
    if (row.cache == "rounded:step=1000") {
      EXPECT_LT(row.common_prefix.mean, 10);
    }
  }
}

// Groups of positions are the whole, cut in pieces.
TEST_F(CacheMeasurement, ByPositionIsTheWholeInParts) {
  const CacheResults results = measure();
  const LanguageRow& row = results.language[1];
  ASSERT_EQ(row.by_position.size(), 3U);
  int64_t next = 1, positions = 0;
  double sum = 0;
  for (const PositionGroup& group : row.by_position) {
    EXPECT_EQ(group.first, next);
    next = group.last + 1;
    positions += group.summary.positions;
    sum += group.summary.kl_mean * static_cast<double>(group.summary.positions);
    EXPECT_EQ(group.summary.positions, 4 * (group.last - group.first + 1));
  }
  EXPECT_EQ(next, 41);
  EXPECT_NEAR(sum / static_cast<double>(positions), row.summary.kl_mean, 1e-12);
}

// Steps that are timed are taken alone, the others together: which must not show. And what stands beside a policy
// changes nothing.
TEST_F(CacheMeasurement, DoesNotDependOnWhatElseIsMeasured) {
  const CacheResults all = measure();
  options_.policies = {"rounded:step=0.05"};
  options_.contexts = {90};
  options_.measures = {"language"};
  const CacheResults alone = measure();
  EXPECT_TRUE(alone.free.empty());
  ASSERT_EQ(alone.language.size(), 1U);
  EXPECT_EQ(alone.language[0].summary.kl_mean, all.language[4].summary.kl_mean);
  EXPECT_EQ(alone.language[0].summary.perplexity, all.language[4].summary.perplexity);
  EXPECT_EQ(alone.language[0].kl.high, all.language[4].kl.high);
}

TEST_F(CacheMeasurement, RecordsEveryRow) {
  std::map<std::string, int> what;
  double told = 0;
  int begun = 0;
  const CacheResults results = measure({.begin = [&] { ++begun; },
                                        .write =
                                            [&](const base::Record& record) {
                                              ++what[record.what];
                                              EXPECT_TRUE(record.setting.contains("cache"));
                                              EXPECT_EQ(record.setting["documents"], 4);
                                            },
                                        .progress = [&](const std::string&, double done) { told = done; },
                                        .stop_requested = {}});
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(what["kl_mean"], 6);
  EXPECT_EQ(what["kl_mean_by_position"], 18);
  EXPECT_EQ(what["decode_ratio_to_full"], 6);
  EXPECT_EQ(what["common_prefix"], 6);
  EXPECT_NEAR(told, 1, 1e-9);
  const base::Json json = results_json(results);
  ASSERT_EQ(json.size(), 12U);
  for (const char* key : {"cache", "context", "bytes_per_token", "fixed_bytes", "kl_mean", "kl_median", "kl_p999",
                          "same_top", "perplexity", "kl_mean_interval", "share_of_full", "by_position"}) {
    EXPECT_TRUE(json[0].contains(key)) << key;
  }
}

TEST_F(CacheMeasurement, StopsWithWhatIsFinished) {
  int rows = 0;
  const CacheResults results = measure({.begin = {},
                                        .write = [&](const base::Record& record) { rows += record.what == "kl_mean"; },
                                        .progress = {},
                                        .stop_requested = [&] { return rows > 0; }});
  EXPECT_TRUE(results.interrupted);
  EXPECT_EQ(results.language.size(), 3U) << "those of the first context";
  EXPECT_EQ(rows, 3);
}

TEST_F(CacheMeasurement, CompressesBeforeOrAfterTheQuestion) {
  options_.policies = {"rounded:step=0.05"};
  options_.measures = {"retrieval"};
  options_.contexts = {600};
  options_.samples = 2;
  lengths_at_end_of_prompt.clear();
  const CacheResults results = measure();
  ASSERT_EQ(results.retrieval.size(), 2U * 2 * 3) << "of the full cache too";
  EXPECT_EQ(results.retrieval[0].cache, "full");
  EXPECT_EQ(results.retrieval[0].question, "known");
  EXPECT_EQ(results.retrieval[1].question, "unknown");
  EXPECT_EQ(results.retrieval[0].depths.size(), 2U);
  std::vector<int64_t> expected;
  for (const std::string& task : tasks::retrieval_tasks()) {
    for (uint64_t index = 0; index < 2; ++index) {
      // Bytes are tokens: the longest prompt whose answer still fits.
      const auto tokens = [&](const tasks::RetrievalPrompt& prompt) {
        return encode_retrieval(opened_, prompt).size() + static_cast<int64_t>(prompt.references[0].size()) + 9;
      };
      const RetrievalTokens parts =
          encode_retrieval(opened_, tasks::longest_retrieval_prompt(task, 0, index, 600, tokens));
      expected.push_back(static_cast<int64_t>(parts.context.size()));
      expected.push_back(static_cast<int64_t>(parts.context.size() + parts.question.size()));
      EXPECT_GT(parts.question.size(), 10U);
      EXPECT_GT(parts.answer_start.size(), 5U);
    }
  }
  EXPECT_EQ(lengths_at_end_of_prompt, expected);
}

TEST_F(CacheMeasurement, RefusesWhatCannotBeMeasured) {
  const auto refusal = [&](const std::function<void(CacheEvaluationOptions&)>& change) {
    const CacheEvaluationOptions kept = options_;
    change(options_);
    bool begun = false;
    const std::string error = error_of([&] { measure({.begin = [&] { begun = true; }}); });
    EXPECT_FALSE(begun);
    options_ = kept;
    return error;
  };
  EXPECT_CONTAINS(refusal([](auto& o) { o.policies = {"ful"}; }), "unknown kind of cache 'ful', did you mean 'full'?");
  EXPECT_CONTAINS(refusal([](auto& o) { o.policies = {"full", "full:f16"}; }), "--cache full:f16: given twice");
  EXPECT_CONTAINS(refusal([](auto& o) { o.policies = {}; }), "expected at least one policy");
  EXPECT_CONTAINS(refusal([](auto& o) { o.texts = {}; }), "--text: expected at least one file");
  EXPECT_CONTAINS(refusal([](auto& o) { o.texts = {"no/such.txt"}; }), "no/such.txt");
  EXPECT_CONTAINS(refusal([](auto& o) { o.contexts = {360}; }),
                  "one.txt: 400 tokens; expected at least 401 for a document of 401 tokens");
  EXPECT_CONTAINS(refusal([](auto& o) { o.documents = 9; }), "expected at least 405 for 5 documents of 81 tokens");
  EXPECT_CONTAINS(refusal([](auto& o) { o.contexts = {961}; }),
                  "--context 961: with the 40 tokens after it the model would see 1001; it has room for 1000");
  EXPECT_CONTAINS(refusal([](auto& o) { o.measures = {"retrieval"}; }), "--context 40: retrieval task 'needle'");
}

TEST(CacheChoice, IsTheBestWithinABudgetOrTheSmallestWithinALoss) {
  const auto row = [](const char* name, int64_t context, double share, double kl, double high) {
    LanguageRow made;
    made.cache = name;
    made.context = context;
    made.bytes_per_token = 1000 * share;
    made.share_of_full = share;
    made.summary.kl_mean = kl;
    made.kl = {kl, 0, high};
    return made;
  };
  const std::vector<LanguageRow> rows = {row("full", 64, 1, 0, 0),
                                         row("tiny", 64, 0.01, 0, 0),
                                         row("full", 512, 1, 0, 0),
                                         row("half", 512, 0.5, 0.001, 0.002),
                                         row("quarter", 512, 0.25, 0.01, 0.03),
                                         row("worse", 512, 0.2, 0.5, 0.6)};
  const auto chosen = [&](const Limit& limit) {
    const LanguageRow* best = choose_policy(rows, limit);
    return best == nullptr ? std::string() : best->cache;
  };
  EXPECT_EQ(chosen({.share = 0.25, .loss = {}}), "quarter");
  EXPECT_EQ(chosen({.share = 1, .loss = {}}), "full");
  EXPECT_EQ(chosen({.share = 0.1, .loss = {}}), "");
  EXPECT_EQ(chosen({.share = {}, .loss = 0.01}), "half") << "the upper end of quarter's interval is above";
  EXPECT_EQ(chosen({.share = {}, .loss = 0.03}), "quarter");
  EXPECT_EQ(parse_share("25%"), 0.25);
  for (const char* text : {"", "25", "%", "25%x", "0%", "101%", "-3%", "x%"}) {
    EXPECT_CONTAINS(error_of([&] { parse_share(text); }), "--budget: expected a share");
  }
}

}  // namespace
}  // namespace incontext::eval
