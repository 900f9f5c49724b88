#include "kernels/cpu/attention_tiles.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_tiles.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/attention_rows-inl.h"
#include "kernels/cpu/pairs-inl.h"
#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Tiles of 32 that hold `extent`.
HWY_INLINE int64_t TilesOf(int64_t extent) { return (extent + kTileBlock - 1) / kTileBlock; }

/// Cuts one buffer into those of a piece of work, each aligned to 128 bytes.
class Carver {
 public:
  explicit Carver(float* at) : at_(at) {}
  float* floats(int64_t size) {
    float* part = at_;
    at_ += TilesOf(size) * kTileBlock;
    return part;
  }
  uint16_t* bf16(int64_t size) { return reinterpret_cast<uint16_t*>(floats((size + 1) / 2)); }

 private:
  float* at_;
};

/// One head of a sequence: [rows, columns] of bf16.
struct HeadRows {
  const uint16_t* data;
  int64_t stride;
  int64_t rows, columns;

  int64_t row_tiles() const { return TilesOf(rows); }
  int64_t column_tiles() const { return TilesOf(columns); }
  BlockRows<uint16_t> block(int64_t row, int64_t column, uint16_t* copy) const {
    return WholeBlock(data + row * stride + column, stride, rows - row, columns - column, copy);
  }
};

/// The rows' transpose as right blocks [tile of rows][tile of columns]: the depth is the columns.
void PackAcross(const HeadRows& in, uint16_t* out) {
  HWY_ALIGN uint16_t copy[kTileBlockSize];
  for (int64_t row = 0; row < in.rows; row += kTileBlock) {
    for (int64_t column = 0; column < in.columns; column += kTileBlock, out += kTileBlockSize) {
      PackRightBlock(in.block(row, column, copy), true, reinterpret_cast<uint32_t*>(out));
    }
  }
}

/// The rows as right blocks [tile of columns][tile of rows]: the depth is the rows.
void PackDown(const HeadRows& in, uint16_t* out) {
  HWY_ALIGN uint16_t copy[kTileBlockSize];
  for (int64_t column = 0; column < in.columns; column += kTileBlock) {
    for (int64_t row = 0; row < in.rows; row += kTileBlock, out += kTileBlockSize) {
      PackRightBlock(in.block(row, column, copy), false, reinterpret_cast<uint32_t*>(out));
    }
  }
}

/// Up to 32 rows from `first` on as a left strip: where they lie, or in `packed` where some are missing.
LeftStrip StripOf(const HeadRows& in, int64_t first, uint16_t* packed) {
  if (in.columns % kTileBlock == 0 && in.rows - first >= kTileBlock) {
    return {in.data + first * in.stride, in.stride, kTileBlock};
  }
  HWY_ALIGN uint16_t copy[kTileBlockSize];
  for (int64_t tile = 0; tile < in.column_tiles(); ++tile) {
    PackLeftBlock(in.block(first, tile * kTileBlock, copy), false,
                  reinterpret_cast<uint32_t*>(packed + tile * kTileBlockSize));
  }
  return {.data = packed, .rows = std::min(kTileBlock, in.rows - first)};
}

/// Rounds `size` floats, a multiple of 32, to bf16.
void NarrowRow(const float* from, int64_t size, uint16_t* to) {
  if (HasBf16Instruction()) {
    for (int64_t j = 0; j < size; j += kLanes) StoreBf16ByInstruction(hn::LoadU(Full(), from + j), to + j);
  } else {
    for (int64_t j = 0; j < size; j += kLanes) StoreStored<Storage::bf16>(Full(), hn::LoadU(Full(), from + j), to + j);
  }
}

/// Rows of fp32, times a factor each, to where they belong.
void StoreRows(const float* from, int64_t from_stride, const float* factors, int64_t rows, int64_t columns,
               const Array& to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float factor = factors == nullptr ? 1.0F : factors[r];
    ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
      StoreTo(d, hn::Mul(hn::LoadU(d, from + r * from_stride + j), hn::Set(d, factor)), to, r * stride + j);
    });
  }
}

HeadRows HeadOf(const ConstArray& array, int64_t stride, int64_t first, int64_t rows, int64_t head, int64_t head_dim) {
  return {array.bf16() + first * stride + head * head_dim, stride, rows, head_dim};
}

/// Queries [first, last) of all heads that share a KV head.
void TilesForwardGroup(const AttentionForward& args, TileStrip multiply, int64_t b, int64_t kv_head, int64_t first,
                       int64_t last) {
  const AttentionShape& s = args.shape;
  const int64_t first_tile = s.first_seen_by(first) / kTileBlock;  // of keys; buffers begin there
  const int64_t tokens = s.seen_by(last - 1) - first_tile * kTileBlock;
  const int64_t start = b * s.time + first_tile * kTileBlock, query_start = b * s.queries();
  const HeadRows k = HeadOf(args.k, args.k_stride, start, tokens, kv_head, s.head_dim);
  const HeadRows v = HeadOf(args.v, args.v_stride, start, tokens, kv_head, s.head_dim);
  const int64_t token_tiles = k.row_tiles(), depth = k.column_tiles();
  const int64_t row_size = token_tiles * kTileBlock * kTileBlock, packed_size = token_tiles * depth * kTileBlockSize;
  Carver carver(scratch(Scratch::partial, packed_size + 2 * row_size + (depth + 4) * kTileBlockSize));
  uint16_t* keys = carver.bf16(packed_size);
  uint16_t* values = carver.bf16(packed_size);
  float* scores = carver.floats(row_size);
  uint16_t* probabilities = carver.bf16(row_size);
  uint16_t* packed = carver.bf16(depth * kTileBlockSize);
  float* sums = carver.floats(kTileBlockSize);
  float* factors = carver.floats(kTileBlock);
  PackAcross(k, keys);
  PackDown(v, values);
  Fetches nothing;
  const int64_t group = s.heads / s.kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    const HeadRows q = HeadOf(args.q, args.q_stride, query_start, last, h, s.head_dim);
    for (int64_t i = first; i < last; i += kTileBlock) {
      const int64_t rows = std::min(kTileBlock, last - i);
      const int64_t tile = s.first_seen_by(i) / kTileBlock, from = tile * kTileBlock, skipped = tile - first_tile;
      const int64_t tiles = TilesOf(s.seen_by(i + rows - 1)) - tile, stride = tiles * kTileBlock;
      multiply(StripOf(q, i, packed), keys + skipped * depth * kTileBlockSize, depth, tiles, scores, nothing);
      for (int64_t r = 0; r < rows; ++r) {
        float* row = scores + r * stride;
        const RowSoftmax softmax =
            SoftmaxWindow(row, 0, s.first_seen_by(i + r) - from, s.seen_by(i + r) - from, stride, s.scale * kLog2E);
        factors[r] = 1 / softmax.sum;
        if (args.log_sum_exp != nullptr) {
          args.log_sum_exp[(b * s.heads + h) * s.queries() + i + r] = s.scale * softmax.highest + std::log(softmax.sum);
        }
        NarrowRow(row, stride, probabilities + r * stride);
      }
      std::fill_n(probabilities + rows * stride, (kTileBlock - rows) * stride, uint16_t{0});
      for (int64_t d = 0; d < depth; ++d) {
        multiply({.data = probabilities, .row = stride, .step = kTileBlock, .rows = rows},
                 values + (d * token_tiles + skipped) * kTileBlockSize, tiles, 1, sums, nothing);
        StoreRows(sums, kTileBlock, factors, rows, std::min(kTileBlock, s.head_dim - d * kTileBlock),
                  args.out + (query_start + i) * args.out_stride + h * s.head_dim + d * kTileBlock, args.out_stride);
      }
    }
  }
}

/// What the backward pass of one sequence and KV head keeps of keys, values and their gradients.
struct TilesBackwardHead {
  const uint16_t* keys_across;
  const uint16_t* values_across;
  const uint16_t* keys_down;
  float* dk;  // [token_tiles * 32, depth * 32]
  float* dv;
  int64_t token_tiles, depth;
};

/// Tiles of queries of one head that are worked on together, and buffers for them.
struct TilesBackwardBlock {
  int64_t b, h, first, tiles;  // in tiles of 32 queries
  HeadRows q, dout;            // of all queries
  uint16_t* p;                 // [tiles * 32, token_tiles * 32] probabilities
  uint16_t* ds;                // the same: gradients of scale * q·k, times scale
  uint16_t* left;              // one left strip
  uint16_t* right;             // q and dout as right blocks [depth][tiles]
  float* scores;               // [32, token_tiles * 32]
  float* changes;              // the same
  float* sums;                 // [32, 32]
};

/// Fills p and ds of a block, and dq.
void TilesQueryGradients(const AttentionBackward& args, TileStrip multiply, const TilesBackwardHead& head,
                         const TilesBackwardBlock& block) {
  const AttentionShape& s = args.shape;
  const int64_t across = head.token_tiles * kTileBlock;
  Fetches nothing;
  for (int64_t tile = 0; tile < block.tiles; ++tile) {
    const int64_t first = (block.first + tile) * kTileBlock;
    const int64_t rows = std::min(kTileBlock, s.queries() - first);
    const int64_t key_tile = s.first_seen_by(first) / kTileBlock, from = key_tile * kTileBlock;
    const int64_t tiles = TilesOf(s.seen_by(first + rows - 1)) - key_tile, stride = tiles * kTileBlock;
    const int64_t skipped = key_tile * head.depth * kTileBlockSize;
    const int64_t row = block.b * s.queries() + first;
    multiply(StripOf(block.q, first, block.left), head.keys_across + skipped, head.depth, tiles, block.scores, nothing);
    multiply(StripOf(block.dout, first, block.left), head.values_across + skipped, head.depth, tiles, block.changes,
             nothing);
    uint16_t* p = block.p + tile * kTileBlock * across + from;
    uint16_t* ds = block.ds + tile * kTileBlock * across + from;
    for (int64_t r = 0; r < rows; ++r) {
      const float delta = DotOf(args.dout + (row + r) * args.dout_stride + block.h * s.head_dim,
                                args.out + (row + r) * args.out_stride + block.h * s.head_dim, s.head_dim);
      BackwardWindow(block.scores + r * stride, block.changes + r * stride, 0, s.first_seen_by(first + r) - from,
                     s.seen_by(first + r) - from, stride, s.scale,
                     args.log_sum_exp[(block.b * s.heads + block.h) * s.queries() + first + r], delta);
      NarrowRow(block.scores + r * stride, stride, p + r * across);
      NarrowRow(block.changes + r * stride, stride, ds + r * across);
    }
    for (int64_t r = rows; r < kTileBlock; ++r) {
      std::fill_n(p + r * across, stride, uint16_t{0});
      std::fill_n(ds + r * across, stride, uint16_t{0});
    }
    for (int64_t d = 0; d < head.depth; ++d) {
      multiply({.data = ds, .row = across, .step = kTileBlock, .rows = rows},
               head.keys_down + (d * head.token_tiles + key_tile) * kTileBlockSize, tiles, 1, block.sums, nothing);
      StoreRows(block.sums, kTileBlock, nullptr, rows, std::min(kTileBlock, s.head_dim - d * kTileBlock),
                args.dq + row * args.dq_stride + block.h * s.head_dim + d * kTileBlock, args.dq_stride);
    }
  }
}

/// Adds weightsᵀ·right over the queries of a block to [token_tiles * 32, depth * 32] `out`; right is `rows` packed.
void TilesAddTransposed(const AttentionBackward& args, TileStrip multiply, const TilesBackwardHead& head,
                        const TilesBackwardBlock& block, const uint16_t* weights, const HeadRows& right, float* out) {
  const AttentionShape& s = args.shape;
  const bool by_pairs = takes_pairs(multiply);
  const int64_t across = head.token_tiles * kTileBlock, width = head.depth * kTileBlock;
  const int64_t first = block.first * kTileBlock;
  PackDown({right.data + first * right.stride, right.stride, std::min(block.tiles * kTileBlock, right.rows - first),
            right.columns},
           block.right);
  Fetches nothing;
  const int64_t last_query = std::min(first + block.tiles * kTileBlock, s.queries()) - 1;
  for (int64_t j = s.first_seen_by(first) / kTileBlock; j < TilesOf(s.seen_by(last_query)); ++j) {
    // Queries before the first token of tile j do not see it, nor do those whose windows begin behind it.
    const int64_t skipped = std::max<int64_t>(0, s.first_seer(j * kTileBlock) / kTileBlock - block.first);
    const int64_t seers = TilesOf(s.end_of_seers(std::min(s.time, (j + 1) * kTileBlock))) - block.first;
    const int64_t end = std::min(block.tiles, seers);
    if (skipped >= end) continue;
    for (int64_t i = skipped; i < end; ++i) {
      const BlockRows<uint16_t> in{weights + i * kTileBlock * across + j * kTileBlock, across};
      auto* left = reinterpret_cast<uint32_t*>(block.left + (i - skipped) * kTileBlockSize);
      by_pairs ? PackLeftBlockByPairs(in, left) : PackLeftBlock(in, true, left);
    }
    LeftStrip left = by_pairs ? left_by_pairs(block.left) : LeftStrip{block.left};
    left.rows = std::min(kTileBlock, s.time - j * kTileBlock);
    for (int64_t d = 0; d < head.depth; ++d) {
      multiply(left, block.right + (d * block.tiles + skipped) * kTileBlockSize, end - skipped, 1, block.sums, nothing);
      for (int64_t r = 0; r < left.rows; ++r) {
        float* to = out + (j * kTileBlock + r) * width + d * kTileBlock;
        for (int64_t c = 0; c < kTileBlock; c += kLanes) {
          hn::StoreU(hn::Add(hn::LoadU(Full(), to + c), hn::LoadU(Full(), block.sums + r * kTileBlock + c)), Full(),
                     to + c);
        }
      }
    }
  }
}

/// All gradients of one sequence and KV head.
void TilesBackwardGroup(const AttentionBackward& args, TileStrip multiply, int64_t b, int64_t kv_head) {
  const AttentionShape& s = args.shape;
  const int64_t start = b * s.time;
  const HeadRows k = HeadOf(args.k, args.k_stride, start, s.time, kv_head, s.head_dim);
  const HeadRows v = HeadOf(args.v, args.v_stride, start, s.time, kv_head, s.head_dim);
  const int64_t token_tiles = k.row_tiles(), query_tiles = TilesOf(s.queries()), depth = k.column_tiles();
  const int64_t across = token_tiles * kTileBlock, width = depth * kTileBlock;
  // Probabilities and their gradients together: 256 KiB of the second-level cache.
  const int64_t at_once = std::clamp<int64_t>(65536 / (across * kTileBlock), 1, query_tiles);
  const int64_t block_size = at_once * kTileBlock * across, packed_size = token_tiles * depth * kTileBlockSize;
  const int64_t strip_size = std::max(at_once, depth) * kTileBlockSize;
  Carver carver(scratch(Scratch::partial, 2 * packed_size + 2 * across * width + block_size + strip_size +
                                              at_once * depth * kTileBlockSize + 2 * kTileBlock * across +
                                              2 * kTileBlockSize));
  uint16_t* keys_across = carver.bf16(packed_size);
  uint16_t* values_across = carver.bf16(packed_size);
  uint16_t* keys_down = carver.bf16(packed_size);
  const TilesBackwardHead head{
      keys_across, values_across, keys_down, carver.floats(across * width), carver.floats(across * width),
      token_tiles, depth};
  TilesBackwardBlock block{.b = b,
                           .h = 0,
                           .first = 0,
                           .tiles = 0,
                           .q = {},
                           .dout = {},
                           .p = carver.bf16(block_size),
                           .ds = carver.bf16(block_size),
                           .left = carver.bf16(strip_size),
                           .right = carver.bf16(at_once * depth * kTileBlockSize),
                           .scores = carver.floats(kTileBlock * across),
                           .changes = carver.floats(kTileBlock * across),
                           .sums = carver.floats(kTileBlockSize)};
  PackAcross(k, keys_across);
  PackAcross(v, values_across);
  PackDown(k, keys_down);
  std::fill_n(head.dk, across * width, 0.0F);
  std::fill_n(head.dv, across * width, 0.0F);
  const int64_t group = s.heads / s.kv_heads;
  for (block.h = kv_head * group; block.h < (kv_head + 1) * group; ++block.h) {
    block.q = HeadOf(args.q, args.q_stride, b * s.queries(), s.queries(), block.h, s.head_dim);
    block.dout = HeadOf(args.dout, args.dout_stride, b * s.queries(), s.queries(), block.h, s.head_dim);
    for (block.first = 0; block.first < query_tiles; block.first += at_once) {
      block.tiles = std::min(at_once, query_tiles - block.first);
      TilesQueryGradients(args, multiply, head, block);
      TilesAddTransposed(args, multiply, head, block, block.p, block.dout, head.dv);
      TilesAddTransposed(args, multiply, head, block, block.ds, block.q, head.dk);
    }
  }
  StoreRows(head.dk, width, nullptr, s.time, s.head_dim, args.dk + start * args.dk_stride + kv_head * s.head_dim,
            args.dk_stride);
  StoreRows(head.dv, width, nullptr, s.time, s.head_dim, args.dv + start * args.dv_stride + kv_head * s.head_dim,
            args.dv_stride);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(TilesForwardGroup);
HWY_EXPORT(TilesBackwardGroup);

bool attention_takes_tiles(const AttentionForward& args) {
  return args.q.is_bf16() && args.k.is_bf16() && args.v.is_bf16();
}

bool attention_takes_tiles(const AttentionBackward& args) {
  return args.q.is_bf16() && args.k.is_bf16() && args.v.is_bf16() && args.dout.is_bf16();
}

void attention_forward_on_tiles(const AttentionForward& args, TileStrip multiply, base::ThreadPool& pool) {
  const AttentionShape& s = args.shape;
  check_attention("attention_forward", s);
  apply_environment();
  constexpr int64_t kQueries = 512;  // a longer sequence is cut, for the sake of threads
  const int64_t cuts = (s.queries() + kQueries - 1) / kQueries;
  const auto group = HWY_DYNAMIC_DISPATCH(TilesForwardGroup);
  pool.run(s.batch * s.kv_heads * cuts, [&](int64_t piece, int) {
    const int64_t first = piece % cuts * kQueries;
    const int64_t head = piece / cuts;
    group(args, multiply, head / s.kv_heads, head % s.kv_heads, first, std::min(s.queries(), first + kQueries));
  });
}

void attention_backward_on_tiles(const AttentionBackward& args, TileStrip multiply, base::ThreadPool& pool) {
  const AttentionShape& s = args.shape;
  check_attention("attention_backward", s);
  if (s.time == 0) return;
  apply_environment();
  const auto group = HWY_DYNAMIC_DISPATCH(TilesBackwardGroup);
  pool.run(s.batch * s.kv_heads,
           [&](int64_t piece, int) { group(args, multiply, piece / s.kv_heads, piece % s.kv_heads); });
}

}  // namespace incontext::kernels
#endif
