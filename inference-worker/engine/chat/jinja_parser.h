// From a template's source to its tree. Knows the statements chat templates use; extends, include,
// import and block are refused by name.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/chat/jinja_ast.h"

namespace conclave::engine::jinja {

// Templates nest no deeper, expressions and statements counted alike.
inline constexpr int kTreeDepthMax = 120;
inline constexpr size_t kSourceBytesMax = 1u << 20;

// INVALID_ARGUMENT "line 12: expected …".
absl::StatusOr<Block> ParseTemplate(std::string_view source);

}  // namespace conclave::engine::jinja
