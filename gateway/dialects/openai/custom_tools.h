// Tools whose input is a text instead of an object. A model is shown a function of one string, so
// that every family of templates and parsers has them; the wire keeps their own words.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/json.h"
#include "conclave/v1/content.pb.h"

namespace conclave::gateway::openai {

// {"name","description","format"}. INVALID_ARGUMENT names the field; a grammar is a regular
// expression.
absl::Status ReadCustomTool(base::JsonValue custom, v1::Tool* tool);

// Those of `tools` that are custom; ReadTools has accepted them.
std::set<std::string> CustomToolNames(base::JsonValue tools);

// The "custom" of a call in an assistant's message: {"name","input"}.
absl::Status ReadCustomCall(base::JsonValue custom, v1::ToolCall* call);

// {"id","type":"custom","custom":{"name","input"}}. Of a backend that wrote no such arguments, the
// input is what it wrote.
void WriteCustomCall(base::JsonWriter& json, const v1::ToolCall& call);

// The input in arguments that come in fragments, {"input":"…"}.
class CustomInput final {
 public:
  // What more of the text is known now.
  std::string Feed(std::string_view fragment);

 private:
  enum class At { kHead, kText, kEnd, kOther };
  void SkipHead();
  // Takes the character or the whole escape at the front of held_; false when more must come.
  bool TakeOne(std::string* text);

  At at_ = At::kHead;
  std::string held_;  // not decided yet
};

}  // namespace conclave::gateway::openai
