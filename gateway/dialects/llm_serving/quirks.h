// What seed 001 took for granted in requests; for the profile llm-serving alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave::gateway::llm_serving {

// Vectors were cut to so many dimensions where the request did not say.
inline constexpr int kEmbedDimensions = 512;

// The text of a conversation none of whose messages has a role: it went to the model as it was, in
// no template. Nothing for any other body.
std::optional<std::string> BarePrompt(std::string_view body);

// The body of an embeddings request with the defaults of the fields that it leaves out.
std::string WithEmbedDefaults(std::string_view body);

}  // namespace conclave::gateway::llm_serving
