#include "cache/kinds/lexico.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/omp.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

constexpr int64_t kPanelRows = 16;
constexpr int64_t kKeySparsity = 10, kValueSparsity = 6;  // unless the policy tells

const uint16_t* halves(const torch::Tensor& tensor) { return static_cast<const uint16_t*>(tensor.data_ptr()); }

const float* floats_or_null(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<float>() : nullptr;
}

/// The finest ladder that two bytes leave room for beside the number of an atom.
kernels::Coefficients ladder_for(int64_t atoms) {
  using kernels::Coefficients;
  for (const Coefficients ladder : {Coefficients::ladder6, Coefficients::ladder5}) {
    if (atoms <= int64_t{1} << kernels::atom_bits(ladder)) return ladder;
  }
  return Coefficients::ladder;
}

/// Atoms as the kernel wants those of keys.
torch::Tensor panels_of(const torch::Tensor& atoms) {
  const int64_t padding = (kPanelRows - atoms.size(0) % kPanelRows) % kPanelRows;
  return torch::constant_pad_nd(atoms, {0, 0, 0, padding})
      .unflatten(0, {(atoms.size(0) + padding) / kPanelRows, kPanelRows})
      .transpose(1, 2)
      .contiguous();
}

}  // namespace

/// What omp() gives of [positions * kv_heads] vectors.
struct LexicoKind::Part {
  std::vector<uint16_t> chosen, scales;
  std::vector<int16_t> codes;
  std::vector<int32_t> used;

  /// Of the positions from one on.
  kernels::SparseCodes from(int64_t row, int64_t sparsity) const {
    return {.chosen = chosen.data() + row * sparsity,
            .codes = codes.data() + row * sparsity,
            .used = used.data() + row,
            .scales = scales.data() + row};
  }
};

LexicoKind::LexicoKind(const LexicoOptions& options, const LexicoDictionary& dictionary, const std::string& file)
    : CodedKind(options.kept), options_(options), dictionary_(dictionary), file_(file), digest_(dictionary.digest()) {
  for (LexicoPart& part : dictionary_.keys) key_panels_.push_back(panels_of(part.atoms));
}

std::string LexicoKind::policy() const {
  std::vector<std::string> options;
  if (options_.coefficients == kernels::Coefficients::integer) options.push_back("bytes=3");
  options.push_back("dictionary=" + file_);
  if (options_.error > 0) options.push_back(fmt::format("error={}", options_.error));
  for (const std::string& each : kept().options()) options.push_back(each);
  options.push_back(fmt::format("sparsity={}", options_.key_sparsity));
  if (options_.value_sparsity != options_.key_sparsity) {
    options.push_back(fmt::format("value_sparsity={}", options_.value_sparsity));
  }
  return policy_text("lexico", options);
}

int64_t LexicoKind::fixed_bytes() const {
  int64_t bytes = dictionary_.bytes();
  for (const torch::Tensor& panels : key_panels_) bytes += static_cast<int64_t>(panels.nbytes());
  return bytes;
}

kernels::SparseLayout LexicoKind::layout(const CacheShape& shape) const {
  return {.kv_heads = shape.kv_heads,
          .key_sparsity = options_.key_sparsity,
          .value_sparsity = options_.value_sparsity,
          .coefficients = options_.coefficients,
          .counted = options_.error > 0};
}

int64_t LexicoKind::block_bytes(int64_t, const CacheShape& shape) const { return layout(shape).block_bytes(); }

void LexicoKind::code(const LexicoPart& dictionary, int64_t sparsity, const CacheShape& shape, const float* rows,
                      int64_t count, Part& part) const {
  const int64_t head_dim = shape.head_dim;
  torch::Tensor vectors =
      torch::from_blob(const_cast<float*>(rows), {count / shape.kv_heads, shape.kv_heads, head_dim}, torch::kFloat32);
  torch::Tensor atoms = dictionary.atoms.to(torch::kFloat32);
  if (dictionary.mean.defined()) vectors = vectors - dictionary.mean;
  if (dictionary.weights.defined()) {
    vectors = vectors * dictionary.weights;
    atoms = atoms * dictionary.weights;
  }
  vectors = vectors.contiguous();
  part.chosen.resize(static_cast<size_t>(count * sparsity));
  part.codes.resize(part.chosen.size());
  part.used.resize(static_cast<size_t>(count));
  part.scales.resize(static_cast<size_t>(count));
  std::vector<float> coefficients(part.chosen.size());
  kernels::omp({.atoms = atoms.data_ptr<float>(),
                .atom_count = atoms.size(0),
                .dim = head_dim,
                .vectors = vectors.data_ptr<float>(),
                .stride = head_dim,
                .count = count,
                .sparsity = sparsity,
                .error = static_cast<float>(options_.error),
                .rounding = options_.coefficients,
                .chosen = part.chosen.data(),
                .coefficients = coefficients.data(),
                .used = part.used.data(),
                .codes = part.codes.data(),
                .scales = part.scales.data()},
               tensor::kernel_pool());
}

std::vector<int64_t> LexicoKind::encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                                        int64_t blocks, std::byte* out) const {
  const torch::NoGradGuard no_gradient;
  const auto at = static_cast<size_t>(layer);
  const int64_t rows_of_block = kCodedBlock * shape.kv_heads;
  Part key_part, value_part;
  code(dictionary_.keys[at], options_.key_sparsity, shape, keys, blocks * rows_of_block, key_part);
  code(dictionary_.values[at], options_.value_sparsity, shape, values, blocks * rows_of_block, value_part);
  const kernels::SparseLayout layout = this->layout(shape);
  std::vector<int64_t> sizes(static_cast<size_t>(blocks));
  tensor::kernel_pool().run(blocks, [&](int64_t block, int) {
    const int64_t row = block * rows_of_block;
    sizes[static_cast<size_t>(block)] =
        write_sparse_block(layout, key_part.from(row, options_.key_sparsity),
                           value_part.from(row, options_.value_sparsity), out + block * layout.block_bytes());
  });
  return sizes;
}

void LexicoKind::attend_codes(int64_t layer, const CacheShape& shape, std::span<const CodesAttending> sequences,
                              float scale) const {
  const auto at = static_cast<size_t>(layer);
  std::vector<std::vector<const std::byte*>> blocks(sequences.size());
  std::vector<kernels::SparseAttentionSequence> parts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const CodesAttending& each = sequences[i];
    for (int64_t block = 0; block * kCodedBlock < each.last; ++block) blocks[i].push_back(each.codes->block(block));
    parts.push_back({.q = each.queries.data,
                     .q_stride = each.queries.stride,
                     .count = each.count,
                     .blocks = blocks[i].data(),
                     .first = each.first,
                     .last = each.last,
                     .out = each.out,
                     .log_sums = each.log_sums});
  }
  const LexicoPart& keys = dictionary_.keys[at];
  const LexicoPart& values = dictionary_.values[at];
  kernels::sparse_attention({.layout = layout(shape),
                             .heads = shape.heads,
                             .head_dim = shape.head_dim,
                             .scale = scale,
                             .key_atoms = keys.atoms.size(0),
                             .value_atoms = values.atoms.size(0),
                             .key_panels = halves(key_panels_[at]),
                             .value_rows = halves(values.atoms),
                             .key_mean = floats_or_null(keys.mean),
                             .value_mean = floats_or_null(values.mean),
                             .sequences = parts},
                            tensor::kernel_pool());
}

void LexicoKind::check_block(int64_t layer, const CacheShape& shape, std::span<const std::byte> block,
                             const std::string& where) const {
  const auto at = static_cast<size_t>(layer);
  base::check(kernels::is_sparse_block(layout(shape), block, dictionary_.keys[at].atoms.size(0),
                                       dictionary_.values[at].atoms.size(0)),
              "{}: layer {}: a block of codes is damaged", where, layer);
}

std::shared_ptr<const CacheKind> make_lexico_kind(const CachePolicy& policy, const CachedModel& model) {
  PolicyOptions options(policy);
  LexicoOptions lexico;
  const int64_t most = std::min(model.shape.head_dim, kernels::SparseLayout::kMostNonZeros);
  const std::string file = options.text("dictionary");
  // Keys need more than values: with 10 and 6 a real model lost an eighth less than with 8 and 8.
  const bool both = options.given("sparsity");
  lexico.key_sparsity = options.integer("sparsity", std::min(kKeySparsity, most), 1, most);
  lexico.value_sparsity =
      options.integer("value_sparsity", both ? lexico.key_sparsity : std::min(kValueSparsity, most), 1, most);
  lexico.error = options.number("error", 0, 0, 0.99);
  const bool two_bytes = options.integer("bytes", 2, 2, 3) == 2;
  lexico.kept = read_kept_exact(options, model, {}, /*least_tail=*/1);
  options.finish();
  if (file.empty()) options.fail("expected dictionary=FILE; incontext calibrate lexico makes one for a model");
  const LexicoDictionary dictionary = read_lexico_dictionary(file, model);
  int64_t atoms = 0;
  for (const auto* parts : {&dictionary.keys, &dictionary.values}) {
    for (const LexicoPart& part : *parts) {
      const int64_t sparsity = std::max(lexico.key_sparsity, lexico.value_sparsity);
      if (part.atoms.size(0) < sparsity) {
        options.fail(
            fmt::format("sparsity: expected at most the {} atoms of {}, got {}", part.atoms.size(0), file, sparsity));
      }
      atoms = std::max(atoms, part.atoms.size(0));
    }
  }
  lexico.coefficients = two_bytes ? ladder_for(atoms) : kernels::Coefficients::integer;
  return std::make_shared<LexicoKind>(lexico, dictionary, file);
}

}  // namespace incontext::cache
