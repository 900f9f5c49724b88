#pragma once

#include <span>
#include <vector>

namespace incontext::base {

/// The q-quantile of values in ascending order, linear between neighbours (type 7 of Hyndman & Fan, 1996: what
/// numpy.quantile() gives). There must be at least one value.
double quantile(std::span<const double> sorted, double q);

/// The middle value, or the mean of the two in the middle. There must be at least one value.
double median(std::vector<double> values);

}  // namespace incontext::base
