// What follows from rules as they are written: which of them are used, which can be satisfied,
// which match the empty text, and which are so small that calling them is not worth it.
#pragma once

#include <vector>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

struct RuleFacts {
  std::vector<RuleId> used;      // the root first
  std::vector<bool> productive;  // by expression: some finite text matches
  std::vector<bool> nullable;    // by expression
  std::vector<bool> inlined;     // by rule
};

// INVALID_ARGUMENT: a used rule without a definition, or a root that nothing satisfies.
absl::StatusOr<RuleFacts> FactsOf(const Rules& rules);

}  // namespace conclave::engine::grammar
