// The arguments of a call in the families that write a tag around each (CallSyntax::Form::kTags).
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/chat/parsers/call_syntax.h"
#include "engine/grammar/json_schema.h"

namespace conclave::engine::grammar {

// `schema` as AddJsonSchema has it; "" = no arguments. The tags of `syntax` are written as they
// are to stand in the output. UNIMPLEMENTED, too: a schema that is not an object of named
// properties.
absl::StatusOr<ExprId> AddTaggedArguments(std::string_view schema, const SchemaOptions& options,
                                          const CallSyntax& syntax, JsonText* json);
// Any arguments.
ExprId AnyTaggedArguments(const CallSyntax& syntax, Rules* rules);

}  // namespace conclave::engine::grammar
