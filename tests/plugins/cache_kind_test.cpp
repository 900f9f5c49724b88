// A kind of cache that lives outside of src.

#include <gtest/gtest.h>
#include <httplib.h>

#include <cmath>

#include "base/random.h"
#include "cache/kind.h"
#include "decode/engine.h"
#include "decode/opened_model.h"
#include "models/language_folder.h"
#include "models/small_llama.h"
#include "serve/engine_backend.h"
#include "serve/server.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "text/byte_tokenizer.h"

namespace incontext {
namespace {

using cache::Attending;
using cache::CacheShape;
using cache::Rows;

/// Keeps every second position, and each token sees itself: plain floats, one row for each position that is kept.
class EverySecondCache : public cache::KvCache {
 public:
  EverySecondCache(std::shared_ptr<const cache::CacheKind> kind, const CacheShape& shape)
      : KvCache(std::move(kind), shape), layers_(static_cast<size_t>(shape.layers)) {}

  int64_t bytes() const override {
    int64_t floats = 0;
    for (const Layer& layer : layers_) {
      floats += static_cast<int64_t>(layer.keys.size() + layer.values.size() + layer.own.size());
    }
    return floats * 4;
  }

  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override {
    CacheShape shape = this->shape();
    shape.capacity = capacity;
    auto copy = std::make_unique<EverySecondCache>(shared_kind(), shape);
    copy->layers_ = layers_;
    copy->set_length(this->length());
    copy->truncate(length);
    return copy;
  }

  tensor::NamedTensors to_tensors() const override { return {}; }
  void from_tensors(const tensor::SafetensorsFile&, const std::string&, const std::string& where) override {
    base::fail("{}: this kind is not saved", where);
  }

  void attend(int64_t index, const Rows& queries, int64_t count, const cache::Scores& scores, float* out,
              int64_t out_stride) const override {
    const Layer& layer = layers_[static_cast<size_t>(index)];
    const int64_t dim = shape().head_dim, repeats = shape().heads / shape().kv_heads;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position = length(index) - count + i;
      for (int64_t h = 0; h < shape().heads; ++h) {
        const int64_t kv = h / repeats * dim;
        const float* q = queries.data + i * queries.stride + h * dim;
        std::vector<const float*> keys, values;
        for (int64_t j = 0; j < position; j += 2) {
          keys.push_back(layer.keys.data() + j / 2 * row() + kv);
          values.push_back(layer.values.data() + j / 2 * row() + kv);
        }
        // The token itself, whether it is kept or not.
        const float* own =
            layer.own.data() + (layer.own.size() / static_cast<size_t>(2 * row()) - static_cast<size_t>(count - i)) *
                                   static_cast<size_t>(2 * row());
        keys.push_back(own + kv);
        values.push_back(own + row() + kv);
        attend_one(q, keys, values, scores.scale, out + i * out_stride + h * dim);
      }
    }
  }

 private:
  struct Layer {
    std::vector<float> keys, values;  // of positions 0, 2, 4, …
    std::vector<float> own;           // of the newest tokens, key and value
  };

  int64_t row() const { return shape().kv_heads * shape().head_dim; }

  void attend_one(const float* q, const std::vector<const float*>& keys, const std::vector<const float*>& values,
                  float scale, float* out) const {
    const int64_t dim = shape().head_dim;
    std::vector<double> weights;
    double sum = 0;
    for (const float* key : keys) {
      double score = 0;
      for (int64_t d = 0; d < dim; ++d) score += static_cast<double>(q[d]) * key[d];
      weights.push_back(std::exp(score * scale));
      sum += weights.back();
    }
    for (int64_t d = 0; d < dim; ++d) {
      double value = 0;
      for (size_t j = 0; j < values.size(); ++j) value += weights[j] / sum * values[j][d];
      out[d] = static_cast<float>(value);
    }
  }

  void store(int64_t index, const Rows& keys, const Rows& values, int64_t first, int64_t count) override {
    Layer& layer = layers_[static_cast<size_t>(index)];
    layer.own.clear();
    for (int64_t i = 0; i < count; ++i) {
      const float* key = keys.data + i * keys.stride;
      const float* value = values.data + i * values.stride;
      layer.own.insert(layer.own.end(), key, key + row());
      layer.own.insert(layer.own.end(), value, value + row());
      if ((first + i) % 2 != 0) continue;
      layer.keys.insert(layer.keys.end(), key, key + row());
      layer.values.insert(layer.values.end(), value, value + row());
    }
  }

  void forget(int64_t length) override {
    for (Layer& layer : layers_) {
      layer.keys.resize(static_cast<size_t>((length + 1) / 2 * row()));
      layer.values.resize(layer.keys.size());
      layer.own.clear();
    }
  }

  std::vector<Layer> layers_;
};

int attend_calls = 0;

class EverySecondKind : public cache::CacheKind, public std::enable_shared_from_this<EverySecondKind> {
 public:
  std::string policy() const override { return "every_second"; }
  std::unique_ptr<cache::KvCache> make(const CacheShape& shape) const override {
    return std::make_unique<EverySecondCache>(shared_from_this(), shape);
  }
  int64_t bytes(const CacheShape& shape) const override {
    return shape.layers * (shape.capacity + 1) / 2 * 2 * shape.kv_heads * shape.head_dim * 4;
  }
  void attend(int64_t layer, std::span<const Attending> sequences, const cache::Scores& scores) const override {
    ++attend_calls;
    CacheKind::attend(layer, sequences, scores);
  }
};

std::shared_ptr<const cache::CacheKind> make_every_second(const cache::CachePolicy& policy, const cache::CachedModel&) {
  base::check(policy.words.empty() && policy.values.empty(), "cache policy '{}': every_second has no options",
              policy.text());
  return std::make_shared<EverySecondKind>();
}

const bool kKindRegistered = [] {
  cache::cache_kinds().add({"every_second", "every second position", make_every_second});
  return true;
}();

class CacheKindPlugin : public ::testing::Test {
 protected:
  CacheKindPlugin() {
    const models::DecoderOptions options = testing::small_llama(/*vocabulary=*/300, /*context=*/200);
    models::save_language_folder(models::Decoder(options, 0, 3, torch::kCPU), folder_.path(), {});
    base::write_file_atomic(folder_ / "tokenizer.json", text::byte_tokenizer_json());
    base::write_file_atomic(folder_ / "tokenizer_config.json", text::byte_tokenizer_config_json());
    opened_ = decode::open_model(folder_.path(), {});
    for (int64_t i = 0; i < 40; ++i) prompt_.push_back((7 * i + i * i) % 250);
  }

  void submit(decode::Engine& engine, const std::vector<int64_t>& prompt, std::vector<int64_t>& tokens,
              const char* policy = "every_second") const {
    decode::GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = 12;
    request.sampling.temperature = 0;
    request.policy = cache::parse_policy(policy);
    engine.submit(std::move(request), {.on_token = [&](const decode::Choice& choice) {
                    tokens.push_back(choice.token);
                    return true;
                  }});
  }
  std::vector<int64_t> run(decode::Engine& engine, const std::vector<int64_t>& prompt) const {
    std::vector<int64_t> tokens;
    submit(engine, prompt, tokens);
    engine.finish();
    return tokens;
  }

  testing::TemporaryDirectory folder_;
  decode::OpenedModel opened_;
  std::vector<int64_t> prompt_;
};

TEST_F(CacheKindPlugin, WorksInBatchesBesideOtherKinds) {
  decode::Engine alone_engine(*opened_.model, {});
  const std::vector<int64_t> alone = run(alone_engine, prompt_);
  EXPECT_EQ(alone.size(), 12U);
  std::vector<int64_t> full_alone;
  submit(alone_engine, prompt_, full_alone, "full");
  alone_engine.finish();
  EXPECT_NE(full_alone, alone) << "half of the positions are missing, and it must show";

  decode::Engine engine(*opened_.model, {.prompt_part = 9, .prompt_part_while_decoding = 5});
  std::vector<std::vector<int64_t>> outcomes(4);
  submit(engine, {5, 6, 7}, outcomes[0]);
  submit(engine, prompt_, outcomes[1], "full");
  submit(engine, prompt_, outcomes[2]);
  submit(engine, {9, 8, 7, 6, 5, 4}, outcomes[3]);
  attend_calls = 0;
  engine.step();
  EXPECT_LE(attend_calls, 2) << "one call for all sequences of a kind in each of two layers";
  engine.finish();
  EXPECT_EQ(outcomes[2], alone);
  EXPECT_EQ(outcomes[1], full_alone);
}

TEST_F(CacheKindPlugin, PrefixesAreReused) {
  decode::Engine engine(*opened_.model, {}), fresh(*opened_.model, {.prefix_memory = 0});
  run(engine, prompt_);
  std::vector<int64_t> next = prompt_;
  next[30] = 3;
  EXPECT_EQ(run(engine, next), run(fresh, next));
  EXPECT_GT(engine.status().reused_tokens, 20);
  EXPECT_EQ(engine.status().cache_bytes.size(), 0U);
}

TEST_F(CacheKindPlugin, WorksInTheServer) {
  const auto backend = serve::make_engine_backend(opened_, {}, {"toy"});
  serve::ServerOptions options;
  options.port = 0;
  serve::Server server(options);
  server.serve(*backend);
  httplib::Client client("127.0.0.1", server.port());
  const auto complete = [&](const char* cache) {
    const base::Json ask = {
        {"model", "toy"}, {"prompt", "in a small model"}, {"max_tokens", 12}, {"temperature", 0}, {"cache", cache}};
    const auto answer = client.Post("/v1/completions", ask.dump(), "application/json");
    return answer ? base::Json::parse(answer->body) : base::Json();
  };
  const base::Json every_second = complete("every_second"), full = complete("full");
  EXPECT_TRUE(every_second.contains("choices")) << every_second.dump();
  EXPECT_NE(every_second["choices"], full["choices"]);
  EXPECT_NE(complete("every_other").dump().find("cache policy 'every_other' is not offered here"), std::string::npos);
}

}  // namespace
}  // namespace incontext
