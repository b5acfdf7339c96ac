// Texts of two grammars at once, where neither needs a stack: a pattern and a length, say.
#pragma once

#include "base/status.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// UNIMPLEMENTED: rules that call each other, or too many states. INVALID_ARGUMENT: no text is of
// both.
absl::StatusOr<Graph> Intersect(const Rules& a, const Rules& b);

}  // namespace conclave::engine::grammar
