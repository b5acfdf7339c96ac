// JSON numbers within bounds, digit by digit.
#pragma once

#include <optional>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

struct NumberBounds {
  std::optional<double> min;
  std::optional<double> max;
  bool above_min = false;  // min itself is out
  bool below_max = false;
  bool integer = false;
};

// Integers have up to 15 digits, so that every reader keeps them; other numbers as many, and up to
// 16 behind the point; exponents (two digits) only where there are no bounds.
// INVALID_ARGUMENT: a bound that has no short decimal notation, or nothing between them.
absl::StatusOr<ExprId> AddNumber(const NumberBounds& bounds, Rules* rules);

}  // namespace conclave::engine::grammar
