#include "cache/kinds/coded.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cache_attention.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

int64_t blocks_of(int64_t positions) { return (positions + kCodedBlock - 1) / kCodedBlock; }

/// Rows of one sequence that see the same of it in the same form.
struct Piece {
  const Attending* sequence = nullptr;
  int64_t row = 0, count = 0;
  int64_t first_code = 0, codes = 0;    // coded positions [first_code, codes)
  const FullCache* exact = nullptr;     // what they see exactly, by slots: sinks, then what is not coded
  int64_t layer = 0;                    // of `exact`
  std::unique_ptr<FullCache> own = {};  // where `exact` is a copy for these rows
  int64_t slot = 0;                     // of the first row in `exact`
  int64_t window = 0;                   // in slots

  Rows queries() const { return {sequence->queries.data + row * sequence->queries.stride, sequence->queries.stride}; }
  float* out() const { return sequence->out + row * sequence->out_stride; }
};

/// A cache of one layer, of the exact ones of `cache` as they will be once more is dropped.
std::unique_ptr<FullCache> without(const CodedCache& cache, int64_t layer, int64_t first, int64_t blocks) {
  const FullCache& exact = cache.exact();
  CacheShape shape = exact.shape();
  shape.layers = 1;
  shape.capacity = exact.length(layer);
  auto copy = std::make_unique<FullCache>(exact.shared_kind(), shape, exact.storage());
  copy->take(exact, layer, shape.capacity);
  copy->drop(0, first, blocks);
  return copy;
}

void add_pieces(const Attending& sequence, int64_t layer, int64_t window, std::vector<Piece>& pieces) {
  const auto& cache = static_cast<const CodedCache&>(*sequence.cache);
  const int64_t sinks = cache.coded_kind().kept().sinks, first = cache.length(layer) - sequence.count;
  const int64_t dropped = cache.dropped(layer);
  for (int64_t row = 0; row < sequence.count;) {
    Piece piece{.sequence = &sequence, .row = row, .count = 1, .codes = cache.coded_for(layer, first + row)};
    if (window == 0 || cache.coded_for(layer, cache.length(layer) - 1) == 0) {
      while (row + piece.count < sequence.count && cache.coded_for(layer, first + row + piece.count) == piece.codes) {
        ++piece.count;
      }
    }
    const int64_t position = first + row;
    piece.slot = position - piece.codes;
    piece.exact = &cache.exact();
    piece.layer = layer;
    if (piece.codes > dropped) {
      piece.own = without(cache, layer, sinks, (piece.codes - dropped) / kCodedBlock);
      piece.exact = piece.own.get();
      piece.layer = 0;
    }
    piece.window = window;
    const int64_t seen = window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);  // first position
    if (window > 0 && piece.codes > 0 && seen < sinks + piece.codes) {
      // Slots follow each other from the first that is seen, except that sinks before the window are not seen.
      piece.window = piece.slot - std::min(seen, sinks) + 1;
      piece.first_code = std::max<int64_t>(0, seen - sinks);
    } else if (window > 0 && piece.codes > 0) {
      piece.first_code = piece.codes;
    }
    row += piece.count;
    pieces.push_back(std::move(piece));
  }
}

}  // namespace

CodedKind::CodedKind(KeptExact kept)
    : kept_(std::move(kept)), exact_kind_(std::make_shared<FullKind>(kernels::Storage::f16)) {}

std::unique_ptr<KvCache> CodedKind::make(const CacheShape& shape) const {
  return std::make_unique<CodedCache>(shared_from_this(), shape);
}

int64_t CodedKind::code_bytes(const CacheShape& shape) const {
  const int64_t blocks = blocks_of(std::max<int64_t>(0, shape.capacity - kept_.sinks - kept_.tail));
  int64_t total = 0;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t block = kept_.layer(layer) ? 0 : block_bytes(layer, shape);
    if (block == 0) continue;
    total += static_cast<int64_t>(base::Reservation::round_up_to_pages(static_cast<size_t>(blocks * block))) +
             blocks_of(shape.capacity) * static_cast<int64_t>(sizeof(int64_t));
  }
  return total;
}

int64_t CodedKind::bytes(const CacheShape& shape) const {
  const int64_t ends = std::min(shape.capacity, kept_.sinks + kept_.tail + kCodedBlock);
  int64_t total = code_bytes(shape);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    total += full_layer_bytes(shape, kernels::Storage::f16, kept_.layer(layer) ? shape.capacity : ends);
  }
  return total;
}

int64_t CodedKind::reading_bytes(const CacheShape& shape, int64_t prompt) const {
  CacheShape read = shape;
  read.capacity = std::min(prompt, shape.capacity);
  return std::max(bytes(shape), exact_kind_->bytes(read) + code_bytes(shape));
}

void CodedKind::attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const {
  if (sequences.empty()) return;
  const CacheShape& shape = sequences[0].cache->shape();
  std::vector<Piece> pieces;
  for (const Attending& each : sequences) add_pieces(each, layer, scores.window, pieces);
  int64_t rows = 0;
  for (const Piece& piece : pieces) rows += piece.first_code < piece.codes ? piece.count : 0;
  const bool has_codes = rows > 0 && block_bytes(layer, shape) > 0;
  std::vector<float> coded(has_codes ? static_cast<size_t>(rows * shape.heads * shape.head_dim) : 0);
  std::vector<float> exact_sums(has_codes ? static_cast<size_t>(rows * shape.heads) : 0), coded_sums(exact_sums.size());
  std::vector<FullAttending> exact_parts;
  std::vector<CodesAttending> coded_parts;
  std::vector<kernels::CombineAttention> combined;
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    FullAttending part{.cache = piece.exact,
                       .layer = piece.layer,
                       .queries = piece.queries(),
                       .count = piece.count,
                       .first = piece.slot,
                       .window = piece.window,
                       .out = piece.out(),
                       .out_stride = piece.sequence->out_stride};
    if (has_codes && piece.first_code < piece.codes) {
      const auto sums = static_cast<size_t>(row * shape.heads);
      part.log_sums = exact_sums.data() + sums;
      float* out = coded.data() + row * shape.heads * shape.head_dim;
      const auto& cache = static_cast<const CodedCache&>(*piece.sequence->cache);
      coded_parts.push_back({.codes = cache.codes(layer),
                             .queries = piece.queries(),
                             .count = piece.count,
                             .first = piece.first_code,
                             .last = piece.codes,
                             .out = out,
                             .log_sums = coded_sums.data() + sums});
      combined.push_back({.out = part.out,
                          .out_stride = part.out_stride,
                          .other = out,
                          .log_sums = exact_sums.data() + sums,
                          .other_log_sums = coded_sums.data() + sums,
                          .rows = piece.count * shape.heads,
                          .head_rows = shape.heads,
                          .width = shape.head_dim});
      row += piece.count;
    }
    exact_parts.push_back(part);
  }
  attend_full(exact_parts, scores.scale);
  if (!has_codes) return;
  attend_codes(layer, shape, coded_parts, scores.scale);
  for (const kernels::CombineAttention& each : combined) kernels::combine_attention(each);
}

CodedCache::CodedCache(std::shared_ptr<const CodedKind> kind, const CacheShape& shape)
    : KvCache(kind, shape),
      exact_(kind->exact_kind(), shape, kernels::Storage::f16),
      coded_(static_cast<size_t>(shape.layers), 0),
      dropped_(static_cast<size_t>(shape.layers), 0) {
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t block = kind->kept().layer(layer) ? 0 : kind->block_bytes(layer, shape);
    codes_.push_back(block == 0 ? nullptr : std::make_unique<CodeBlocks>(blocks_of(shape.capacity), block));
  }
}

bool CodedCache::compressed() const {
  return std::any_of(coded_.begin(), coded_.end(), [](int64_t coded) { return coded > 0; });
}

int64_t CodedCache::coded_for(int64_t layer, int64_t position) const {
  const KeptExact& kept = coded_kind().kept();
  if (kept.layer(layer)) return 0;
  const int64_t dropped = dropped_[static_cast<size_t>(layer)];
  if (reading_) return dropped;
  // A token always sees itself exactly.
  const int64_t behind = position + 1 - kept.sinks - std::max<int64_t>(1, kept.tail);
  return std::max(dropped, behind / kCodedBlock * kCodedBlock);
}

void CodedCache::encode_up_to(int64_t layer, int64_t coded) {
  int64_t& done = coded_[static_cast<size_t>(layer)];
  if (coded <= done) return;
  CodeBlocks* codes = codes_[static_cast<size_t>(layer)].get();
  if (codes != nullptr) {
    // So many at once that what is read back stays small beside the cache.
    constexpr int64_t kMostBlocks = 32;
    const int64_t row = shape().kv_heads * shape().head_dim;
    std::vector<float> keys, values;
    while (done < coded) {
      const int64_t blocks = std::min(kMostBlocks, (coded - done) / kCodedBlock), count = blocks * kCodedBlock;
      keys.resize(static_cast<size_t>(count * row));
      values.resize(static_cast<size_t>(count * row));
      exact_.read(layer, coded_kind().kept().sinks + done - dropped_[static_cast<size_t>(layer)], count, keys.data(),
                  values.data());
      codes->added(coded_kind().encode(layer, shape(), keys.data(), values.data(), blocks, codes->room(blocks)));
      done += count;
    }
  }
  done = coded;
}

void CodedCache::drop_up_to(int64_t layer, int64_t coded) {
  int64_t& dropped = dropped_[static_cast<size_t>(layer)];
  exact_.drop(layer, coded_kind().kept().sinks, (coded - dropped) / kCodedBlock);
  dropped = coded;
}

void CodedCache::store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) {
  // What the tokens of the step before saw exactly was kept for them; from here on nobody does.
  const int64_t coded = coded_for(layer, first);
  exact_.append(layer, keys, values, count);
  encode_up_to(layer, coded_for(layer, first + count - 1));
  drop_up_to(layer, coded);
}

void CodedCache::end_of_prompt() {
  reading_ = false;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const int64_t coded = coded_for(layer, length(layer) - 1);
    encode_up_to(layer, coded);
    drop_up_to(layer, coded);
  }
}

void CodedCache::forget(int64_t length) {
  // Nothing is coded, unless all is forgotten.
  if (length == 0) {
    for (auto& codes : codes_) {
      if (codes) codes->clear();
    }
    std::fill(coded_.begin(), coded_.end(), 0);
    std::fill(dropped_.begin(), dropped_.end(), 0);
  }
  reading_ = true;
  exact_.truncate(length);
}

int64_t CodedCache::bytes() const {
  int64_t total = exact_.bytes();
  for (const auto& codes : codes_) total += codes ? codes->bytes() : 0;
  return total;
}

std::unique_ptr<KvCache> CodedCache::copy_prefix(int64_t length, int64_t capacity) const {
  base::check(0 <= length && length <= this->length(shape().layers - 1) && length <= capacity &&
                  (can_truncate() || length == this->length()),
              "[copy_prefix] expected a length of {} {} and at most {}, got {}", can_truncate() ? "at most" : "exactly",
              this->length(), capacity, length);
  CacheShape shape = this->shape();
  shape.capacity = capacity;
  auto copy = std::make_unique<CodedCache>(std::static_pointer_cast<const CodedKind>(shared_kind()), shape);
  copy->exact_.take(exact_, 0, compressed() ? this->length() : length);
  for (size_t layer = 0; layer < codes_.size(); ++layer) {
    if (codes_[layer]) copy->codes_[layer]->copy_from(*codes_[layer]);
  }
  copy->coded_ = coded_;
  copy->dropped_ = dropped_;
  copy->set_length(length);
  return copy;
}

void CodedCache::attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                        int64_t out_stride) const {
  const Attending alone{.cache = this, .queries = queries, .count = count, .out = out, .out_stride = out_stride};
  kind().attend(layer, {&alone, 1}, scores);
}

tensor::NamedTensors CodedCache::to_tensors() const {
  tensor::NamedTensors tensors;
  for (auto& [name, tensor] : exact_.to_tensors()) tensors["exact." + name] = tensor;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    if (codes_[at]) codes_[at]->to_tensors(fmt::format("layers.{}.", layer), tensors);
  }
  tensors["coded"] = torch::tensor(coded_, torch::kInt64);
  tensors["dropped"] = torch::tensor(dropped_, torch::kInt64);
  return tensors;
}

void CodedCache::from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix,
                              const std::string& where) {
  const int64_t layers = shape().layers;
  const auto read_counts = [&](const std::string& name) {
    const torch::Tensor counts = file.tensor(prefix + name).contiguous();
    base::check(counts.scalar_type() == torch::kInt64 && counts.sizes() == torch::IntArrayRef({layers}),
                "{}: tensor '{}{}': expected int64 [{}]", where, prefix, name, layers);
    return std::vector<int64_t>(counts.data_ptr<int64_t>(), counts.data_ptr<int64_t>() + layers);
  };
  // Into a cache of its own first, so that this one stays as it was where something does not fit.
  CodedCache read(std::static_pointer_cast<const CodedKind>(shared_kind()), shape());
  read.coded_ = read_counts("coded");
  read.dropped_ = read_counts("dropped");
  read.exact_.from_tensors_of_lengths(file, prefix + "exact.", where);
  int64_t length = -1;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    const int64_t coded = read.coded_[at], dropped = read.dropped_[at], held = read.exact_.length(layer);
    const int64_t total = held + dropped;
    base::check(0 <= dropped && dropped <= coded && dropped % kCodedBlock == 0 && coded % kCodedBlock == 0 &&
                    coded <= total && total <= shape().capacity && (length < 0 || total == length) &&
                    (coded == 0 || (!coded_kind().kept().layer(layer) && held > coded_kind().kept().sinks)),
                "{}: layer {}: {} positions are coded, {} of them not held exactly, and {} are held", where, layer,
                coded, dropped, held);
    length = total;
    if (!codes_[at]) continue;
    CodeBlocks& codes = *read.codes_[at];
    codes.from_tensors(file, fmt::format("{}layers.{}.", prefix, layer), where);
    base::check(codes.count() * kCodedBlock == coded, "{}: layer {}: expected codes of {} positions, got {}", where,
                layer, coded, codes.count() * kCodedBlock);
    for (int64_t block = 0; block < codes.count(); ++block) {
      coded_kind().check_block(layer, shape(), {codes.block(block), static_cast<size_t>(codes.block_bytes(block))},
                               where);
    }
  }
  truncate(0);
  exact_.take(read.exact_, 0, shape().capacity);
  codes_ = std::move(read.codes_);
  coded_ = read.coded_;
  dropped_ = read.dropped_;
  set_length(std::max<int64_t>(0, length));
}

}  // namespace incontext::cache
