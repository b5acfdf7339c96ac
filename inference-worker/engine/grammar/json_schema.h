// JSON Schema (draft 2020-12, and the older spellings in use) as rules. An output that follows them
// is valid by the schema; not every valid text can be produced: properties come in the order of the
// schema, a schema that names properties and says nothing of others has no others, and numbers are
// as json_numbers.h says. What cannot be promised is refused, naming keyword and place.
// The whole list is in docs/structured-output.md.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

struct SchemaOptions {
  // What the caller calls the schema: refusals begin with it and name the keyword's place below it,
  // "tools[2].function.parameters.properties.a: …", which is their param, too.
  std::string place = "schema";
  // Leave out keywords that cannot be promised, instead of refusing them.
  bool lenient = false;
  // Objects only, whatever else the schema lets through.
  bool object = false;
};

// INVALID_ARGUMENT: no schema. UNIMPLEMENTED: a keyword that cannot be promised.
absl::StatusOr<ExprId> AddJsonSchema(std::string_view schema, const SchemaOptions& options,
                                     JsonText* json);
// By itself.
absl::StatusOr<Rules> ParseJsonSchema(std::string_view schema, const SchemaOptions& options = {});

}  // namespace conclave::engine::grammar
