#include "base/machine.h"

#include <sys/resource.h>

#include <fmt/format.h>

#include <fstream>
#include <string>

#include "base/text.h"
#include "base/threads.h"

namespace incontext::base {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      const size_t colon = line.find(':');
      if (colon != std::string::npos) return std::string(trim(std::string_view(line).substr(colon + 1)));
    }
  }
  return "unknown processor";
}

std::string& accelerator() {
  static std::string name;
  return name;
}

}  // namespace

std::string best_instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return "avx512_bf16";
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  if (__builtin_cpu_supports("avx2")) return "avx2";
#endif
  return "baseline";
}

void name_accelerator(const std::string& name) { accelerator() = name; }

std::string version() { return INCONTEXT_VERSION; }

std::string machine_description() {
  return fmt::format("{}, {} processors, {}{}{}", processor_name(), available_processors(), best_instruction_set(),
                     accelerator().empty() ? "" : ", ", accelerator());
}

double peak_memory_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;  // Linux counts KiB
}

}  // namespace incontext::base
