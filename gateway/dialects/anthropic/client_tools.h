// Tools that Anthropic's API knows by their type and the caller runs (a shell, an editor, a
// memory). Its own models have learnt what they take; ours are told.
#pragma once

#include <string>
#include <string_view>

namespace conclave::gateway::anthropic {

struct ClientTool {
  std::string type;  // "bash_20250124"
  std::string name;  // the only one it may have
  std::string description;
  std::string input_schema;
};

// Null when it is none of them: what runs at Anthropic, or takes pictures.
const ClientTool* FindClientTool(std::string_view type);

}  // namespace conclave::gateway::anthropic
