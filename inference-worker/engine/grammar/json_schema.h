// JSON Schema (draft 2020-12, and the older spellings in use) as rules. An output that follows them
// is valid by the schema; not every valid text can be produced: properties come in the order of the
// schema, a schema that names properties and says nothing of others has no others, and numbers are
// as json_numbers.h says. What cannot be promised is refused, naming the place by JSON pointer.
// The whole list is in docs/structured-output.md.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// INVALID_ARGUMENT: "schema #/properties/a: …". UNIMPLEMENTED: a keyword that cannot be promised.
absl::StatusOr<Rules> ParseJsonSchema(std::string_view schema);

}  // namespace conclave::engine::grammar
