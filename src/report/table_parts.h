#pragma once

#include <set>
#include <string>

#include "report/series.h"
#include "report/table.h"

// What the tables of summary.cpp and cache_tables.cpp are put together from.

namespace incontext::report {

/// "0.031 (0.029 to 0.033)", or the number alone where nothing is known of its spread.
std::string value_with_range(const Point& point);
std::string value_with_range(const base::Record& record);

/// Moves the columns among `candidates` that hold one value everywhere from the table into its title.
void lift_constant_columns(Table& table, const std::set<std::string>& candidates);

}  // namespace incontext::report
