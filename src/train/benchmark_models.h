#pragma once

#include <array>
#include <string>
#include <vector>

namespace incontext::train {

/// The models of `incontext bench train`: Garg et al.'s tiny, small and standard, and Yang et al.'s looped model, on
/// 20-dimensional linear regression with 41 points, batch 64, Adam.
inline constexpr std::array kBenchmarkModels = {"tiny", "small", "standard", "looped"};

inline std::vector<std::string> benchmark_models() { return {kBenchmarkModels.begin(), kBenchmarkModels.end()}; }

}  // namespace incontext::train
