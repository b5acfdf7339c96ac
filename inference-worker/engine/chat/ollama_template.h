// A chat template of Ollama's: a Go template, and the rules by which Ollama runs it.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <string_view>

#include "engine/chat/conversation.h"
#include "engine/chat/go_eval.h"

namespace conclave::engine {

class OllamaTemplate final {
 public:
  // INVALID_ARGUMENT "line 3: …".
  static absl::StatusOr<OllamaTemplate> Parse(std::string_view source);

  // One that names .Messages sees the whole conversation. An older one runs once for each turn, and
  // the last time only as far as .Response.
  absl::Status Render(const Conversation& conversation, gotmpl::Interpreter& in) const;
  // What stands before a gap and behind it. Precondition: Names("suffix").
  absl::Status RenderInfill(std::string_view prompt, std::string_view suffix,
                            gotmpl::Interpreter& in) const;

  // Whether the template has a field or variable of that name, in lower case: "tools", "messages".
  bool Names(const std::string& name) const { return names_.contains(name); }
  bool names_fields() const { return !names_.empty(); }
  bool thinks() const { return Names("thinking") || Names("think"); }
  // What stands in front of a call that the template writes, up to the JSON: "<tool_call>"; "{"
  // where nothing does; "" where it writes none.
  const std::string& call_mark() const { return call_mark_; }

 private:
  struct Turn {
    std::string system, prompt, response;
  };
  absl::Status RenderTurns(const Conversation& conversation, const std::vector<Message>& messages,
                           gotmpl::Interpreter& in) const;
  // .Think, .ThinkLevel and .IsThinkSet.
  void AddThinking(const Conversation& conversation, gotmpl::Map* to) const;
  gotmpl::Value DataOf(const Turn& turn, const Conversation& conversation) const;

  gotmpl::Program program_;
  gotmpl::NodeList last_;  // the program as far as .Response
  std::set<std::string> names_;
  std::string call_mark_;
};

}  // namespace conclave::engine
