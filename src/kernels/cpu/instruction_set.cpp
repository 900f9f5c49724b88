#include "kernels/instruction_set.h"

#include <fmt/ranges.h>
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/dispatch.h"

namespace incontext::kernels {
namespace {

std::string name_of(int64_t target) {
  std::string name = hwy::TargetName(target);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

/// Bits of the sets compiled in that this machine can run and that are not ruled out; a lower bit is a better set.
int64_t usable() { return (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET; }

int64_t best_of(int64_t targets) { return targets & -targets; }

/// False where the system does not keep the registers of AVX across a change of tasks, so that its instructions are
/// illegal although the processor has them (a kernel that distrusts the processor's XSAVE, as some emulators' do).
bool system_keeps_avx() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx");
#else
  return true;
#endif
}

/// avx512_allowed(), or -1 while nobody has asked.
std::atomic<int> allowed{-1};

int find_allowed() {
  constexpr int64_t kAvx512AndBetter = HWY_AVX3 | (HWY_AVX3 - 1);
  return (usable() & kAvx512AndBetter) != 0 ? 1 : 0;
}

/// Limits dispatch to some sets; 0 stands for all.
void limit(int64_t targets) {
#if HWY_ARCH_X86
  if (targets == 0 && !system_keeps_avx()) {
    hwy::SetSupportedTargetsForTest(0);
    constexpr int64_t kAvx2AndBetter = HWY_AVX2 | (HWY_AVX2 - 1);
    targets = hwy::SupportedTargets() & ~kAvx2AndBetter;
  }
#endif
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  allowed = find_allowed();
}

void force(const std::string& name) {
  limit(0);
  if (name.empty()) return;
  const int64_t all = usable();
  for (int64_t targets = all; targets != 0; targets &= targets - 1) {
    if (name_of(best_of(targets)) == name) return limit(best_of(targets));
  }
  std::vector<std::string> names;
  for (int64_t targets = all; targets != 0; targets &= targets - 1) names.push_back(name_of(best_of(targets)));
  base::fail("[instruction_set] expected one of {}, got {}", fmt::join(names, ", "), name);
}

}  // namespace

void apply_environment() {
  static const bool applied = [] {
    if (!system_keeps_avx()) limit(0);
    if (const char* name = std::getenv("INCONTEXT_ISA")) force(name);
    return true;
  }();
  static_cast<void>(applied);
}

bool avx512_allowed() {
  if (allowed < 0) allowed = find_allowed();
  return allowed == 1;
}

std::string instruction_set() {
  apply_environment();
  const TileStrip strip = usable_tile_strip();
  const char* extension = strip == nullptr ? "" : strip == amx_tile_strip() ? "+amx" : "+bf16";
  return name_of(best_of(usable())) + extension;
}

std::vector<std::string> available_instruction_sets() {
  apply_environment();
  const int64_t current = best_of(usable());
  limit(0);
  std::vector<std::string> names;
  const int64_t all = usable();
  for (int64_t targets = all; targets != 0; targets &= targets - 1) names.push_back(name_of(best_of(targets)));
  if (current != best_of(all)) limit(current);
  return names;
}

void force_instruction_set(const std::string& name) {
  apply_environment();
  force(name);
}

}  // namespace incontext::kernels
