// The door: from what a caller wrote to an automaton, within bounds of size and work, or a refusal
// that names the place.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

enum class Language { kJsonObject, kJsonSchema, kGbnf, kRegex };

// Into rules that hold other things, too. `place` is what the caller calls the definition: refusals
// begin with it, and their param is it, or a path below it.
absl::StatusOr<ExprId> AddLanguage(Language language, std::string_view definition,
                                   std::string_view place, JsonText* json);

// INVALID_ARGUMENT: ill-formed, too large, or nothing satisfies it. UNIMPLEMENTED: something that
// cannot be promised. `definition` is not read for kJsonObject.
absl::StatusOr<Automaton> Compile(Language language, std::string_view definition);

}  // namespace conclave::engine::grammar
