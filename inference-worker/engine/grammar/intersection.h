// Texts of two grammars at once, or of one and not of the other, where neither needs a stack: a
// pattern and a length, say.
#pragma once

#include "base/status.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// UNIMPLEMENTED: rules that call each other, or too many states. INVALID_ARGUMENT: no text is of
// both.
absl::StatusOr<Graph> Intersect(const Rules& a, const Rules& b);
// The same of the texts of `a` that are none of `b`.
absl::StatusOr<Graph> Subtract(const Rules& a, const Rules& b);
// The texts of `rules` that hold `min` to `max` characters; max may be Rules::kUnbounded.
absl::StatusOr<Graph> WithLength(const Rules& rules, int32_t min, int32_t max);
// All of one.
absl::StatusOr<Graph> AsGraph(const Rules& rules);

}  // namespace conclave::engine::grammar
