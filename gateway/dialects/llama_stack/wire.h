// What tells Llama Stack's three wires apart. The handlers are one set; a wire is a row of these.
//   2024    no prefix, underscores; llama-stack-client up to 0.0.50
//   alpha   /alpha, hyphens; 0.0.53 to 0.0.63
//   2025    /v1, hyphens; 0.1 and 0.2
#pragma once

#include <string_view>

#include "base/json.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::llama_stack {

struct Wire {
  std::string_view model_field;
  // Reads what sampling_params say of the choice of tokens; an absent view means the defaults.
  absl::Status (*read_strategy)(base::JsonValue params, v1::SamplingParams* out);
  // A delta of text is {"type":"text","text"}, one of a call {"type":"tool_call",…}; else a string
  // and {"content","parse_status"}.
  bool typed_deltas;
  std::string_view call_succeeded;  // words of parse_status
  std::string_view call_failed;
  bool arguments_json;      // the arguments of a call a second time, as text
  bool completion_message;  // in the answer to a completion, too
  bool metrics;             // token counts in the answers
  // Of a batch: "batch" holds whole answers, "completion_message_batch" their messages.
  bool whole_batch;
};

extern const Wire kWire2024;
extern const Wire kWireAlpha;
extern const Wire kWire2025;

// The model that a request names, by the wire's field or by the other wires'.
absl::StatusOr<std::string> ReadModel(const Wire& wire, base::JsonValue root);

}  // namespace conclave::gateway::llama_stack
