#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/lexico_options.h"
#include "models/language_model.h"

namespace incontext::calibrate {

/// How well a layer's held-out vectors are coded: mean relative errors at the fitted sparsity.
struct LexicoLayerReport {
  int64_t layer = 0;
  double key_error = 0, value_error = 0;
  double random_key_error = 0, random_value_error = 0;  // over random atoms
};

struct LexicoCalibrationReport {
  std::vector<LexicoLayerReport> layers;
  int64_t tokens = 0;
  int64_t resumed_layers = 0;  // that an earlier, unfinished run had done
  int64_t bytes = 0;           // of the dictionaries
  bool finished = false;       // false: stopped early; the next run goes on
};

/// What it tells while it runs; each may be empty.
struct CalibrationEvents {
  /// The part of all work that is done, and what is being done.
  std::function<void(double done, const std::string& what)> progress = {};
  /// Asked between steps; true ends the work, which the next call goes on with.
  std::function<bool()> stopped = {};
};

/// Fits Lexico dictionaries to a model on a text and writes them to `out` (cache/kinds/lexico_dictionary.h). Layers
/// that are done are kept in the folder `out`.partial, from which a run with the same model, tokens and options goes
/// on; a folder of another run is an Error, and so are too few tokens.
LexicoCalibrationReport calibrate_lexico(const models::LanguageModel& model, std::span<const int64_t> tokens,
                                         const LexicoCalibrationOptions& options, const std::filesystem::path& out,
                                         const CalibrationEvents& events = {});

}  // namespace incontext::calibrate
