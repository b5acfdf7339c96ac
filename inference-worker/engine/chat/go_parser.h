// Go's text/template as it is parsed: https://pkg.go.dev/text/template, of Go 1.24.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/chat/go_ast.h"

namespace conclave::engine::gotmpl {

// INVALID_ARGUMENT "line 3: …". Complex numbers are refused.
absl::StatusOr<Program> ParseTemplate(std::string_view source);

}  // namespace conclave::engine::gotmpl
