// The NDJSON lines by which create and pull tell how far they are.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dialects/generation.h"

namespace conclave::gateway::ollama {

struct LayerProgress {
  std::string digest;
  int64_t total = 0;
  int64_t completed = 0;
};

// {"status":"…"} and its newline.
std::string StatusLine(std::string_view status);
// With digest, total and, once it is known, completed.
std::string StatusLine(std::string_view status, const LayerProgress& progress);

// All lines at once: as a stream, or, not streamed, the last one alone.
Task<void> ReplyLines(Exchange& exchange, bool stream, std::string lines);

}  // namespace conclave::gateway::ollama
