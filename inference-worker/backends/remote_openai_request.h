// OpenAI's wire as a client speaks it: our request as a JSON body. Pure.
#pragma once

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "backends/backend.h"

namespace conclave::backends {

// How servers that call themselves compatible differ.
struct OpenAiDialect {
  std::string max_tokens_field = "max_tokens";  // or "max_completion_tokens"
  // The server takes guided_regex and guided_grammar, as vLLM and Conclave do. Without it those
  // formats are refused: a server that ignores the field would answer unconstrained.
  bool guided = false;
};

struct OpenAiCall {
  bool chat = false;  // chat/completions, else completions
  std::string body;
};

// UNIMPLEMENTED naming the field: what this wire has no word for. Of one answer: `n` is for who
// asks (answer_fan).
absl::StatusOr<OpenAiCall> EncodeOpenAiCall(const GenerateRequest& request,
                                            const std::string& model, const OpenAiDialect& dialect);
// {"model":…,"messages":…|"prompt":…} for the server's own /tokenize.
std::string EncodeTokenizeCall(const std::variant<ChatPrompt, TextPrompt>& input,
                               const TokenizeOptions& options, const std::string& model);

}  // namespace conclave::backends
