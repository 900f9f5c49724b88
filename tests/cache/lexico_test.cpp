#include "cache/kinds/lexico.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <tuple>

#include "base/file.h"
#include "base/random.h"
#include "cache/saved_state.h"
#include "kind_promises.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::cache {
namespace {

using testing::error_of;

CacheShape lexico_shape(int64_t head_dim, int64_t group, int64_t capacity = 600) {
  return {.layers = 2, .heads = 2 * group, .kv_heads = 2, .head_dim = head_dim, .capacity = capacity};
}

torch::Tensor normal_rows(const char* what, uint64_t index, std::vector<int64_t> sizes) {
  torch::Tensor rows = torch::empty(sizes);
  base::RandomStream(3, what, index).fill_normal(std::span(rows.data_ptr<float>(), static_cast<size_t>(rows.numel())));
  return rows;
}

/// What a dictionary of a test has beside its atoms.
enum class Upgrades { none, means, weights };

/// Random atoms for every layer; with means and weights, those of every layer and part differ.
LexicoDictionary random_lexico(const CacheShape& shape, int64_t atoms, Upgrades upgrades = Upgrades::none) {
  LexicoDictionary dictionary{.model = "model-1", .settings = {{"options", "{}"}}};
  for (int64_t index = 0; index < 2 * shape.layers; ++index) {
    const auto number = static_cast<uint64_t>(index);
    torch::Tensor rows = normal_rows("atoms", number, {atoms, shape.head_dim});
    rows = rows / rows.norm(2, {1}, true);
    LexicoPart part;
    if (upgrades != Upgrades::none) part.mean = normal_rows("mean", number, {shape.kv_heads, shape.head_dim});
    if (upgrades == Upgrades::weights) {
      part.weights = normal_rows("weights", number, {shape.head_dim}).abs() + 0.2;
      rows = rows / part.weights;
    }
    part.atoms = rows.to(torch::kFloat16);
    (index % 2 == 0 ? dictionary.keys : dictionary.values).push_back(part);
  }
  return dictionary;
}

/// A normalised Walsh-Hadamard matrix, whose entries ± 1/√size are exact halves where size is a power of four.
torch::Tensor hadamard(int64_t size) {
  torch::Tensor rows = torch::ones({1, 1});
  while (rows.size(0) < size) {
    rows = torch::cat({torch::cat({rows, rows}, 1), torch::cat({rows, -rows}, 1)}, 0);
  }
  return rows / std::sqrt(static_cast<float>(size));
}

class Lexico : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return (place_ / name).string(); }
  std::string written(const LexicoDictionary& dictionary, const std::string& name = "dictionary") const {
    write_lexico_dictionary(dictionary, file(name));
    return file(name);
  }
  static std::shared_ptr<const CacheKind> open(const std::string& options, const std::string& dictionary,
                                               const CacheShape& shape) {
    return open_kind(parse_policy("lexico:dictionary=" + dictionary + (options.empty() ? "" : "," + options)),
                     {.shape = shape});
  }
  /// Root mean square of how far attention is from the full cache's, a while after a prompt, over that of the latter.
  static double loss(const std::shared_ptr<const CacheKind>& kind, const CacheShape& shape) {
    const Scores scores{.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim))};
    DrivenCache full(open_kind(parse_policy("full"), {.shape = shape}), shape, scores), coded(kind, shape, scores);
    full.read_prompt(260, 260);
    coded.read_prompt(260, 260);
    const std::vector<float> expected = full.decode(60, 1), actual = coded.decode(60, 1);
    const torch::Tensor a = torch::tensor(actual, torch::kFloat64), e = torch::tensor(expected, torch::kFloat64);
    return (a - e).norm().item<double>() / e.norm().item<double>();
  }

  testing::TemporaryDirectory place_;
};

TEST_F(Lexico, KeepsWhatEveryKindPromises) {
  const CacheShape shape = lexico_shape(32, 3);
  const std::string plain = written(random_lexico(shape, 96)),
                    means = written(random_lexico(shape, 96, Upgrades::means), "means"),
                    weights = written(random_lexico(shape, 40, Upgrades::weights), "weights");
  check_promises(open("tail=40", plain, shape), shape, 300);
  check_promises(open("bytes=3,sparsity=5,sinks=0,tail=1", means, shape), shape, 211);
  check_promises(open("sparsity=3,value_sparsity=7,exact_layers=1,tail=64", weights, shape), shape, 211);
  // Codes that are counted take less than they might.
  check_promises(open("error=0.6,sparsity=16,tail=40", plain, shape), shape, 211, Filling::by_prompt);
  check_promises(open("error=0.3,sparsity=16,bytes=3,tail=33", weights, shape), shape, 211, Filling::by_prompt);
  // Other heads, and dictionaries whose atoms take more bits.
  for (const auto& [head_dim, group, atoms] :
       {std::tuple<int64_t, int64_t, int64_t>{64, 1, 1500}, {128, 4, 2100}, {80, 8, 130}}) {
    const CacheShape other = lexico_shape(head_dim, group);
    const std::string dictionary = written(random_lexico(other, atoms, Upgrades::means), "other");
    check_promises(open("sparsity=6", dictionary, other), other, 211);
    check_promises(open("error=0.5,bytes=3,tail=50", dictionary, other), other, 211, Filling::by_prompt);
  }
}

TEST_F(Lexico, AnOrthonormalDictionaryLeavesOnlyTheRoundingOfCoefficients) {
  const int64_t head_dim = 64;
  const CacheShape shape = lexico_shape(head_dim, 2);
  LexicoDictionary dictionary;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    dictionary.keys.push_back({.atoms = hadamard(head_dim).to(torch::kFloat16)});
    dictionary.values.push_back({.atoms = hadamard(head_dim).to(torch::kFloat16)});
  }
  const std::string path = written(dictionary);
  // A coefficient is off by at most half a step, S / 2 / 2047 with the largest coefficient S, in the root mean square
  // 1/√3 of that, and by the rounding of the scale, 2^-11 of itself. S is below 5 deviations: so vectors are off by at
  // most e = √((5 / 4094)² / 3 + 2^-22) = 8.6e-4 of their length. An output is off by e for the values; scores
  // q·k/√m, of deviation 1.1² here, by as much times e, and weights with them: √(1 + 1.5) e = 1.4e-3. Twice that, for
  // what is left of randomness. It is not 0: nothing would be compressed.
  const double integers = loss(open("sparsity=64,bytes=3,tail=32", path, shape), shape);
  EXPECT_LT(integers, 2.8e-3);
  EXPECT_GT(integers, 1e-4);
  // Two bytes: a coefficient of ± S 2^(-level / steps) is off by at most (1 - r) / (1 + r) of itself with r = 2^(-1 /
  // steps), and one below the last level by at most that. Small dictionaries have 8 steps, larger ones 4 and 2: the
  // same atoms again and again, of which the first are chosen.
  double before = 10 * integers;
  for (const auto& [times, most] : {std::pair<int64_t, double>{1, 0.1}, {24, 0.15}, {40, 0.3}}) {
    LexicoDictionary repeated = dictionary;
    for (auto* parts : {&repeated.keys, &repeated.values}) {
      for (LexicoPart& part : *parts) part.atoms = part.atoms.repeat({times, 1});
    }
    const double ladder = loss(open("sparsity=64,tail=32", written(repeated), shape), shape);
    EXPECT_LT(ladder, most) << times * head_dim << " atoms";
    EXPECT_GT(ladder, before);
    before = ladder;
  }
}

TEST_F(Lexico, MoreNonZerosLoseLess) {
  const CacheShape shape = lexico_shape(64, 2);
  const std::string path = written(random_lexico(shape, 256));
  for (const char* bytes : {"bytes=2", "bytes=3"}) {
    double before = 1;
    for (const int64_t sparsity : {1, 2, 4, 8, 16, 32}) {
      const double lost = loss(open(fmt::format("{},sparsity={},tail=32", bytes, sparsity), path, shape), shape);
      EXPECT_LT(lost, before) << bytes << " with " << sparsity;
      EXPECT_GT(lost, 0);
      before = lost;
    }
  }
  // Codes that end early lose more than those that do not, and no more than a looser bound.
  const double tight = loss(open("error=0.3,sparsity=32,tail=32", path, shape), shape),
               loose = loss(open("error=0.7,sparsity=32,tail=32", path, shape), shape);
  EXPECT_LT(tight, loose);
  // Exact layers lose nothing.
  EXPECT_EQ(loss(open("exact_layers=0/1,tail=32", path, shape), shape), 0);
  EXPECT_GT(loss(open("exact_layers=1,tail=32", path, shape), shape), 0);
}

TEST_F(Lexico, AMeanIsTakenOutAndPutBack) {
  // One atom for everything: all that is right is the mean and one direction.
  const CacheShape shape = lexico_shape(32, 1, 300);
  LexicoDictionary dictionary = random_lexico(shape, 1, Upgrades::means);
  const auto kind = open("sparsity=1,bytes=3,sinks=0,tail=1", written(dictionary), shape);
  const int64_t width = shape.kv_heads * shape.head_dim, count = 200;
  const auto cache = kind->make(shape);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    // value = mean + 2 atom, key = mean - atom: codes of these have no error but rounding.
    const torch::Tensor keys = (dictionary.keys[at].mean - dictionary.keys[at].atoms.to(torch::kFloat32))
                                   .flatten()
                                   .expand({count, width})
                                   .contiguous(),
                        values = (dictionary.values[at].mean + 2 * dictionary.values[at].atoms.to(torch::kFloat32))
                                     .flatten()
                                     .expand({count, width})
                                     .contiguous();
    cache->append(layer, {keys.data_ptr<float>(), width}, {values.data_ptr<float>(), width}, count);
  }
  cache->end_of_prompt();
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    std::vector<float> query(static_cast<size_t>(width), 0.1F), out(query);
    cache->attend(layer, {query.data(), width}, 1, {.scale = 1}, out.data(), width);
    const torch::Tensor expected =
        (dictionary.values[at].mean + 2 * dictionary.values[at].atoms.to(torch::kFloat32)).flatten();
    EXPECT_TRUE(torch::allclose(torch::tensor(out), expected, 2e-3, 4e-3)) << "layer " << layer;
  }
}

TEST_F(Lexico, BytesAreTold) {
  const CacheShape shape = lexico_shape(64, 1, 40000);
  const LexicoDictionary dictionary = random_lexico(shape, 64, Upgrades::weights);
  const std::string path = written(dictionary);
  // Atoms and means and weights, and keys' atoms once more in the kernel's order.
  constexpr int64_t kAtoms = 64 * 64 * 2, kMean = 2 * 64 * 4, kWeights = 64 * 4;
  EXPECT_EQ(dictionary.bytes(), 4 * (kAtoms + kMean + kWeights));
  EXPECT_EQ(open("", path, shape)->fixed_bytes(), 4 * (kAtoms + kMean + kWeights) + 2 * kAtoms);
  const int64_t width = shape.kv_heads * shape.head_dim;
  const torch::Tensor rows = normal_rows("rows", 0, {shape.capacity, width});
  for (const char* options : {"sparsity=4", "sparsity=4,bytes=3"}) {
    const auto kind = open(options, path, shape);
    const auto cache = kind->make(shape);
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      cache->append(layer, {rows.data_ptr<float>(), width}, {rows.data_ptr<float>(), width}, shape.capacity);
    }
    cache->end_of_prompt();
    const auto measured = static_cast<double>(cache->bytes()), told = static_cast<double>(kind->bytes(shape));
    EXPECT_LE(measured, told);
    EXPECT_GE(measured, 0.99 * told) << options;
    // 2 s + 2 or 3 s + 2 bytes for each of keys and values, and what is exact.
    const double of_vector = kind->policy().find("bytes=3") == std::string::npos ? 10 : 14;
    const double coded = of_vector * 2 * 2 * 2 * static_cast<double>(shape.capacity);
    EXPECT_GE(measured, coded * 0.99);
    EXPECT_LE(measured, coded * 1.01 + 180.0 * 2 * 2 * 2 * 64 * 2 + 64 * 4096);
  }
}

TEST_F(Lexico, TwoSpellingsAreOneKind) {
  const CacheShape shape = lexico_shape(64, 1);
  const std::string path = written(random_lexico(shape, 64)), name = "dictionary=" + path;
  const auto canonical_of = [&](const std::string& options) { return open(options, path, shape)->policy(); };
  EXPECT_EQ(canonical_of(""), "lexico:" + name + ",sparsity=10,value_sparsity=6");
  EXPECT_EQ(canonical_of("sparsity=8"), "lexico:" + name + ",sparsity=8");
  EXPECT_EQ(canonical_of("bytes=2,tail=128,value_sparsity=10"), "lexico:" + name + ",sparsity=10");
  const std::string full =
      canonical_of("value_sparsity=12,tail=7,sparsity=4,sinks=0,exact_layers=-1,error=0.125,bytes=3");
  EXPECT_EQ(full, "lexico:bytes=3," + name + ",error=0.125,exact_layers=1,sinks=0,sparsity=4,tail=7,value_sparsity=12");
  EXPECT_EQ(open_kind(parse_policy(full), {.shape = shape})->policy(), full);
}

TEST_F(Lexico, PoliciesThatCannotBeAreRefused) {
  const CacheShape shape = lexico_shape(32, 1);
  const std::string path = written(random_lexico(shape, 12));
  const auto refusal = [&](const std::string& options) { return error_of([&] { open(options, path, shape); }); };
  EXPECT_CONTAINS(refusal("atoms=3"), "unknown option 'atoms'");
  EXPECT_CONTAINS(refusal("sparsity=33"), "sparsity: expected a whole number from 1 to 32, got '33'");
  EXPECT_CONTAINS(refusal("value_sparsity=33"), "value_sparsity: expected a whole number from 1 to 32, got '33'");
  EXPECT_CONTAINS(refusal("sparsity=0"), "sparsity: expected a whole number from 1 to 32, got '0'");
  EXPECT_CONTAINS(refusal("sparsity=13"), "sparsity: expected at most the 12 atoms of " + path + ", got 13");
  EXPECT_CONTAINS(refusal("value_sparsity=13"), "sparsity: expected at most the 12 atoms of " + path + ", got 13");
  EXPECT_CONTAINS(refusal("tail=0"), "tail: expected a whole number from 1 to");
  EXPECT_CONTAINS(refusal("bytes=4"), "bytes: expected a whole number from 2 to 3, got '4'");
  EXPECT_CONTAINS(refusal("error=1"), "error: expected a number from 0 to 0.99, got '1'");
  EXPECT_CONTAINS(refusal("error=nan"), "error: expected a number");
  EXPECT_CONTAINS(refusal("exact_layers=2"), "expected layers from -2 to 1");
  const auto alone = [&](const std::string& policy) {
    return error_of([&] { open_kind(parse_policy(policy), {.shape = shape}); });
  };
  EXPECT_CONTAINS(alone("lexico"), "expected dictionary=FILE; incontext calibrate lexico makes one for a model");
  EXPECT_CONTAINS(alone("lexico:dictionary="), "expected dictionary=FILE");
  EXPECT_CONTAINS(alone("lexico:dictionary=" + file("none")), file("none") + ": cannot open");
  EXPECT_CONTAINS(alone("lexico:dictionary=" + place_.path().string()), place_.path().string());
}

TEST_F(Lexico, ADictionaryComesBackAsItWas) {
  const CacheShape shape = lexico_shape(32, 1);
  for (const Upgrades upgrades : {Upgrades::none, Upgrades::means, Upgrades::weights}) {
    const LexicoDictionary written_one = random_lexico(shape, 20, upgrades);
    const LexicoDictionary read =
        read_lexico_dictionary(written(written_one), {.shape = shape, .fingerprint = "model-1"});
    EXPECT_EQ(read.model, "model-1");
    EXPECT_EQ(read.settings, written_one.settings);
    ASSERT_EQ(read.keys.size(), 2U);
    ASSERT_EQ(read.values.size(), 2U);
    for (size_t layer = 0; layer < 2; ++layer) {
      for (const auto& [a, b] : {std::pair(&read.keys[layer], &written_one.keys[layer]),
                                 std::pair(&read.values[layer], &written_one.values[layer])}) {
        EXPECT_TRUE(torch::equal(a->atoms, b->atoms));
        ASSERT_EQ(a->mean.defined(), b->mean.defined());
        ASSERT_EQ(a->weights.defined(), b->weights.defined());
        if (a->mean.defined()) {
          EXPECT_TRUE(torch::equal(a->mean, b->mean));
        }
        if (a->weights.defined()) {
          EXPECT_TRUE(torch::equal(a->weights, b->weights));
        }
      }
    }
  }
}

TEST_F(Lexico, DictionariesThatDoNotFitAreRefused) {
  const CacheShape shape = lexico_shape(32, 1);
  const std::string path = written(random_lexico(shape, 20, Upgrades::weights));
  const auto refusal = [&](const CachedModel& model, const std::string& name = "dictionary") {
    const std::string message = error_of([&] { read_lexico_dictionary(file(name), model); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_CONTAINS(message, file(name));
    return message;
  };
  EXPECT_EQ(error_of([&] { read_lexico_dictionary(path, {.shape = shape}); }), "no error");
  EXPECT_CONTAINS(refusal({.shape = shape, .fingerprint = "model-2"}),
                  "fitted to another model: expected one for 'model-2', got one for 'model-1'");
  CacheShape other = shape;
  other.layers = 3;
  EXPECT_CONTAINS(refusal({.shape = other}), "fitted to a model of 2 layers; this one has 3");
  EXPECT_CONTAINS(refusal({.shape = lexico_shape(64, 1)}),
                  "tensor 'layers.0.keys.atoms': expected [1 to 4096, 64], got [20, 32]");
  other = shape;
  other.kv_heads = 1;
  EXPECT_CONTAINS(refusal({.shape = other}), "tensor 'layers.0.keys.mean': expected [1, 32], got [2, 32]");

  // One part of a good dictionary is spoilt.
  const auto spoilt = [&](const std::function<void(LexicoPart&)>& spoil) {
    LexicoDictionary dictionary = random_lexico(shape, 20, Upgrades::weights);
    spoil(dictionary.values[1]);
    written(dictionary, "spoilt");
    return refusal({.shape = shape}, "spoilt");
  };
  const auto set = [](torch::Tensor& tensor, float value) { tensor.flatten()[5] = value; };
  const std::string atoms = "tensor 'layers.1.values.atoms'";
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { set(part.atoms, NAN); }),
                  atoms + " holds numbers that are not finite");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { set(part.mean, INFINITY); }),
                  "values.mean' holds numbers that are not");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { set(part.weights, NAN); }), "values.weights' holds numbers that");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { set(part.weights, 0); }), "values.weights': expected 32 positive");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.weights = torch::ones({31}); }), "expected 32 positive");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.mean = torch::ones({32}); }), "expected [2, 32], got [32]");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.atoms[3] *= 1.5; }), atoms + ": expected atoms of length 1");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.atoms[3].zero_(); }), atoms + ": expected atoms of length 1");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.weights = torch::Tensor(); }), "expected atoms of length 1");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.atoms = part.atoms.to(torch::kFloat32); }),
                  atoms + ": expected Half, got Float");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) {
                    part.atoms = part.atoms.repeat({205, 1});
                  }),
                  "expected [1 to 4096, 32], got [4100, 32]");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.atoms = part.atoms.narrow(0, 0, 0); }), "got [0, 32]");
  EXPECT_CONTAINS(spoilt([&](LexicoPart& part) { part.atoms = part.atoms.flatten(); }), "got [640]");

  tensor::NamedTensors few{{"layers.0.keys.atoms", random_lexico(shape, 20).keys[0].atoms}};
  tensor::write_safetensors(file("few"), few, {{"format", "incontext-lexico-1"}, {"layers", "2"}});
  EXPECT_CONTAINS(refusal({.shape = shape}, "few"), "layers.0.values.atoms");
  tensor::write_safetensors(file("else"), few, {{"format", "pt"}});
  EXPECT_CONTAINS(refusal({.shape = shape}, "else"), "not a dictionary of incontext calibrate lexico");
  std::ofstream(file("text")) << "atoms";
  refusal({.shape = shape}, "text");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 100);
  refusal({.shape = shape});
}

TEST_F(Lexico, DamagedCodesAreRefused) {
  const CacheShape shape = lexico_shape(32, 1);
  const std::string path = written(random_lexico(shape, 40));
  for (const char* options : {"sparsity=4,tail=32", "error=0.5,sparsity=9,bytes=3,tail=32"}) {
    const auto kind = open(options, path, shape);
    DrivenCache driven(kind, shape);
    driven.read_prompt(200, 200);
    const auto loaded = [&](const std::function<void(tensor::NamedTensors&)>& spoil) {
      tensor::NamedTensors tensors = driven.cache().to_tensors();
      spoil(tensors);
      tensor::write_safetensors(file("cache"), tensors);
      const auto cache = kind->make(shape);
      const std::string message =
          error_of([&] { cache->from_tensors(tensor::SafetensorsFile(file("cache")), "", "a file"); });
      EXPECT_EQ(cache->length(), message == "no error" ? 200 : 0) << message;
      return message;
    };
    EXPECT_EQ(loaded([](auto&) {}), "no error");
    const auto damaged = [&](int64_t at, int value) {
      return loaded([&](tensor::NamedTensors& tensors) {
        torch::Tensor& codes = tensors["layers.1.codes"];
        codes = codes.clone();
        codes[at < 0 ? codes.size(0) + at : at] = value;
      });
    };
    // The scale of the second position becomes NaN; where codes are counted, so does where a part begins.
    const bool counted = std::string(options).starts_with("error");
    const int64_t scales = counted ? 2 * 2 * 4 : 0;
    EXPECT_CONTAINS(damaged(scales + 3, 0xFF), "a file: layer 1: a block of codes is damaged");
    // An atom beyond the 40 that there are.
    EXPECT_CONTAINS(damaged(scales + 64 + (counted ? 32 : 0), 0xFF), "layer 1: a block of codes is damaged");
    if (counted) {
      EXPECT_CONTAINS(damaged(0, 0x77), "layer 1: a block of codes is damaged");
      EXPECT_CONTAINS(damaged(scales + 64, 10), "layer 1: a block of codes is damaged");
    }
    EXPECT_CONTAINS(
        loaded([](auto& tensors) { tensors["layers.1.codes"] = tensors["layers.1.codes"].narrow(0, 0, 500).clone(); }),
        "a file: tensor 'layers.1.codes': expected");
    EXPECT_CONTAINS(loaded([](auto& tensors) { tensors["layers.0.ends"][1] = 1; }), "a file: tensor 'layers.0.ends'");
    EXPECT_CONTAINS(loaded([](auto& tensors) { tensors.erase("layers.1.codes"); }), "layers.1.codes");
  }
}

TEST_F(Lexico, SavedCachesGoWithTheirOwnDictionary) {
  // The policy names a file, and the file may have become another since.
  const CacheShape shape = lexico_shape(32, 1);
  const std::string path = written(random_lexico(shape, 40));
  const auto kind = open("sparsity=4,tail=32", path, shape);
  DrivenCache driven(kind, shape);
  driven.read_prompt(200, 200);
  SequenceState state;
  state.tokens.assign(200, 7);
  state.cache = driven.cache().copy_prefix(200, 200);
  save_state(state, file("state"), "model-1");
  EXPECT_EQ(load_state(file("state"), "model-1", *open("sparsity=4,tail=32", path, shape), shape)->position(), 200);
  written(random_lexico(shape, 40, Upgrades::means));
  EXPECT_CONTAINS(
      error_of([&] { load_state(file("state"), "model-1", *open("sparsity=4,tail=32", path, shape), shape); }),
      file("state") + ": written with another file in the place of the one that 'lexico:");
}

}  // namespace
}  // namespace incontext::cache
