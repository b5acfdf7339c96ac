// GBNF, the grammar notation of llama.cpp: rules `name ::= body`, the first to be read is `root`.
//
//   root  ::= item ("," " "? item){0,9}   # comments run to the end of the line
//   item  ::= [a-z_] [^\x00-\x1F"]* | "\"" . "\""
//
// Literals and classes know \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH; `.` is any character; the
// repetitions are ? * + {n} {n,} {n,m} {,m}. An alternative may begin the next line with its bar.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// INVALID_ARGUMENT: "line 3: expected …", groups nested deeper than 64, more than 256 KiB.
absl::StatusOr<Rules> ParseGbnf(std::string_view text);

}  // namespace conclave::engine::grammar
