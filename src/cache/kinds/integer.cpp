#include "cache/kinds/integer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "cache/kinds/quantize.h"
#include "kernels/code_attention.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

using kernels::IntegerCodes;
static_assert(kernels::kCodeBlock == kCodedBlock);

/// Codes of one KV head: `rows` [32, head_dim], row_stride apart, into bytes that are all 0.
class HeadCoder {
 public:
  HeadCoder(const IntegerCodes& codes, bool refit, const float* rows, int64_t row_stride, int64_t head_dim,
            std::byte* out)
      : codes_(codes), refit_(refit), rows_(rows), row_stride_(row_stride), head_dim_(head_dim), out_(out) {}

  void code() {
    if (codes_.group == 0) {
      for (int64_t channel = 0; channel < head_dim_; ++channel) code_group(0, kCodedBlock, channel, channel + 1);
      return;
    }
    for (int64_t channel = 0; channel < head_dim_; channel += codes_.group) {
      for (int64_t position = 0; position < kCodedBlock; ++position) {
        code_group(position, position + 1, channel, std::min(channel + codes_.group, head_dim_));
      }
    }
  }

 private:
  /// Elements that share a scale: of one position or of one channel.
  void code_group(int64_t first, int64_t last, int64_t first_channel, int64_t last_channel) {
    numbers_.clear();
    for (int64_t position = first; position < last; ++position) {
      const float* row = rows_ + position * row_stride_;
      numbers_.insert(numbers_.end(), row + first_channel, row + last_channel);
    }
    integers_.resize(numbers_.size());
    const int64_t scale = codes_.scale_index(first, first_channel);
    ScaleAndZero fitted;
    if (codes_.zeros) {
      fitted = quantize_asymmetric(numbers_, codes_.bits, integers_.data());
      kernels::write_element(kernels::Storage::f16, out_, codes_.scales(head_dim_) + scale, fitted.zero);
    } else {
      fitted.scale = quantize_symmetric(numbers_, codes_.bits, refit_, integers_.data());
    }
    kernels::write_element(kernels::Storage::f16, out_, scale, fitted.scale);
    const int* code = integers_.data();
    for (int64_t position = first; position < last; ++position) {
      for (int64_t channel = first_channel; channel < last_channel; ++channel) {
        std::byte* row = out_ + codes_.row_start(head_dim_, codes_.row_index(position, channel));
        kernels::write_code(row, codes_.bits, (codes_.values ? channel : position) % kCodedBlock, *code++);
      }
    }
  }

  const IntegerCodes& codes_;
  bool refit_;
  const float* rows_;
  int64_t row_stride_, head_dim_;
  std::byte* out_;
  std::vector<float> numbers_;
  std::vector<int> integers_;
};

const KeptExact kIntegerDefaults{.sinks = 0, .tail = 0};

std::shared_ptr<const CacheKind> make_llama_kind(const CachePolicy& policy, const CachedModel& model, int bits) {
  const std::string other = bits == 8 ? "q4_0" : "q8_0";
  PolicyOptions options(policy);
  const bool rotate = options.choice("rotate", {"on", "off"}) == "on";
  const bool refit = options.choice("refit", {"on", "off"}) == "on";
  const bool same = options.choice("values", {policy.kind, other}) == policy.kind;
  const KeptExact kept = read_kept_exact(options, model, kIntegerDefaults);
  options.finish();
  std::vector<std::string> text = kept.options(kIntegerDefaults);
  if (!rotate) text.emplace_back("rotate=off");
  if (!refit) text.emplace_back("refit=off");
  if (!same) text.push_back("values=" + other);
  return std::make_shared<IntegerKind>(policy_text(policy.kind, text), kept,
                                       IntegerOptions{.keys = {.bits = bits},
                                                      .values = {.bits = same ? bits : 12 - bits, .values = true},
                                                      .rotate = rotate,
                                                      .refit = refit});
}

}  // namespace

int64_t IntegerKind::block_bytes(int64_t, const CacheShape& shape) const {
  return shape.kv_heads * (options_.keys.bytes(shape.head_dim) + options_.values.bytes(shape.head_dim));
}

std::vector<int64_t> IntegerKind::encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                                         int64_t blocks, std::byte* out) const {
  const int64_t block = block_bytes(layer, shape), head_dim = shape.head_dim;
  const int64_t key_bytes = options_.keys.bytes(head_dim), head_bytes = key_bytes + options_.values.bytes(head_dim);
  const int64_t row_stride = shape.kv_heads * head_dim;
  std::memset(out, 0, static_cast<size_t>(blocks * block));
  tensor::kernel_pool().run(blocks * shape.kv_heads, [&](int64_t item, int) {
    const int64_t index = item / shape.kv_heads, head = item % shape.kv_heads;
    std::vector<float> rotated;
    const auto code = [&](const IntegerCodes& codes, const float* all, std::byte* to) {
      const float* rows = all + index * kCodedBlock * row_stride + head * head_dim;
      if (!options_.rotate) return HeadCoder(codes, options_.refit, rows, row_stride, head_dim, to).code();
      rotated.clear();
      for (int64_t i = 0; i < kCodedBlock; ++i) {
        rotated.insert(rotated.end(), rows + i * row_stride, rows + i * row_stride + head_dim);
      }
      rotate_heads(rotated.data(), kCodedBlock, head_dim);
      HeadCoder(codes, options_.refit, rotated.data(), head_dim, head_dim, to).code();
    };
    std::byte* to = out + index * block + head * head_bytes;
    code(options_.keys, keys, to);
    code(options_.values, values, to + key_bytes);
  });
  return std::vector<int64_t>(static_cast<size_t>(blocks), block);
}

void IntegerKind::attend_codes(int64_t layer, const CacheShape& shape, std::span<const CodesAttending> sequences,
                               float scale) const {
  const int64_t width = shape.heads * shape.head_dim;
  int64_t rows = 0;
  for (const CodesAttending& each : sequences) rows += each.count;
  std::vector<float> queries(static_cast<size_t>(rows * width));
  std::vector<kernels::CodeAttentionSequence> parts;
  float* to = queries.data();
  for (const CodesAttending& each : sequences) {
    parts.push_back({.q = to,
                     .out = each.out,
                     .count = each.count,
                     .first = each.first,
                     .last = each.last,
                     .codes = each.codes->block(0),
                     .log_sums = each.log_sums});
    for (int64_t i = 0; i < each.count; ++i, to += width) {
      std::copy_n(each.queries.data + i * each.queries.stride, width, to);
    }
  }
  if (options_.rotate) rotate_heads(queries.data(), rows * shape.heads, shape.head_dim);
  kernels::code_attention({.keys = options_.keys,
                           .values = options_.values,
                           .heads = shape.heads,
                           .kv_heads = shape.kv_heads,
                           .head_dim = shape.head_dim,
                           .q_stride = width,
                           .out_stride = width,
                           .block_bytes = block_bytes(layer, shape),
                           .scale = scale,
                           .sequences = parts},
                          tensor::kernel_pool());
  if (!options_.rotate) return;
  for (const CodesAttending& each : sequences) rotate_heads(each.out, each.count * shape.heads, shape.head_dim);
}

void IntegerKind::check_block(int64_t layer, const CacheShape& shape, std::span<const std::byte> block,
                              const std::string& where) const {
  base::check(static_cast<int64_t>(block.size()) == block_bytes(layer, shape),
              "{}: layer {}: expected blocks of {} bytes, got {}", where, layer, block_bytes(layer, shape),
              block.size());
  const std::byte* part = block.data();
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    for (const IntegerCodes* codes : {&options_.keys, &options_.values}) {
      const int64_t halves = codes->scales(shape.head_dim) * (codes->zeros ? 2 : 1);
      for (int64_t i = 0; i < halves; ++i) {
        const float value = kernels::read_element(kernels::Storage::f16, part, i);
        base::check(std::isfinite(value), "{}: layer {}: a scale is {}", where, layer, value);
      }
      part += codes->bytes(shape.head_dim);
    }
  }
}

std::shared_ptr<const CacheKind> make_q8_0_kind(const CachePolicy& policy, const CachedModel& model) {
  return make_llama_kind(policy, model, 8);
}

std::shared_ptr<const CacheKind> make_q4_0_kind(const CachePolicy& policy, const CachedModel& model) {
  return make_llama_kind(policy, model, 4);
}

std::shared_ptr<const CacheKind> make_kivi_kind(const CachePolicy& policy, const CachedModel& model) {
  const KeptExact defaults{.sinks = 0};
  PolicyOptions options(policy);
  const std::string bits = options.choice("bits", {"2", "4"});
  const std::string group = options.choice("group", {"32", "64", "128"});
  const KeptExact kept = read_kept_exact(options, model, defaults);
  options.finish();
  const int64_t channels = std::stoll(group);
  if (options.given("group") && model.shape.head_dim % channels != 0) {
    options.fail(
        fmt::format("group: expected a divisor of the head's {} channels, got {}", model.shape.head_dim, group));
  }
  std::vector<std::string> text = kept.options(defaults);
  if (bits != "2") text.push_back("bits=" + bits);
  if (group != "32") text.push_back("group=" + group);
  return std::make_shared<IntegerKind>(
      policy_text("kivi", text), kept,
      IntegerOptions{.keys = {.bits = std::stoi(bits), .zeros = true, .group = 0},
                     .values = {.bits = std::stoi(bits), .zeros = true, .group = channels, .values = true}});
}

}  // namespace incontext::cache
