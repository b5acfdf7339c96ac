// Interleaved content, the shape that every text of Llama Stack may have: a string, an item, or a
// list of both.
#pragma once

#include <string>

#include "base/json.h"

namespace conclave::gateway::llama_stack {

// The text of it all. INVALID_ARGUMENT names the item: images are refused before anything is
// fetched or decoded.
absl::StatusOr<std::string> ReadContent(base::JsonValue content);

}  // namespace conclave::gateway::llama_stack
