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
// Those that are a multiple of `step` (> 0): one by one where the bounds leave up to 4096 of them,
// else by the remainder of the digits so far, which takes a step of up to 1000 units of its last
// decimal place and no bound but a minimum of 0.
// INVALID_ARGUMENT: as above. UNIMPLEMENTED: a step or a bound that neither way can do.
absl::StatusOr<ExprId> AddMultiples(const NumberBounds& bounds, double step, Rules* rules);

}  // namespace conclave::engine::grammar
