// From a model's raw output to content, reasoning and tool calls. One parser per model family.
//
//   std::unique_ptr<OutputParser> parser = FamilyOf(template_source).make(options);
//   parser->Feed(piece, &events); …; parser->Finish(&events);
//
// Pieces may be cut anywhere, even inside a tag: the events say the same whatever the cuts.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "engine/chat/parsers/call_syntax.h"

namespace conclave::engine {

struct OutputEvent {
  enum class Kind {
    kContent,            // text
    kReasoning,          // text
    kReasoningEnded,     // its closing tag was read
    kToolCallStarted,    // index, id, name; arguments follow
    kToolCallArguments,  // index, text: a piece of the arguments' JSON text
    kToolCallFinished,   // index; text: the whole arguments, one valid JSON object
    kToolCallFailed,     // index; text: what the model wrote, to be shown as it is or dropped.
                         // Comes without kToolCallStarted when even the name is missing.
  };
  Kind kind = Kind::kContent;
  std::string text;
  int index = -1;  // of the tool call, from 0
  std::string id;
  std::string name;
};

// Around reasoning: those of most families, or Magistral's.
struct ReasoningTags {
  std::string_view begin = "<think>";
  std::string_view end = "</think>";
};
ReasoningTags ReasoningTagsOf(std::string_view template_source);

struct ParserOptions {
  bool tools = false;           // the request offers tools; if not, tool markup is content
  bool split_reasoning = true;  // false: reasoning stays in the content, tags included
  // The prompt ended inside an open reasoning block ("<think>\n"): output begins as reasoning.
  bool reasoning_open = false;
  ReasoningTags reasoning_tags;
  // Name and JSON schema of the tools, for families that write values without their types.
  std::vector<std::pair<std::string, std::string>> schemas;
  base::IdSource make_id = base::NewId;  // "call_…"
};

// One per output. Not thread-safe.
class OutputParser {
 public:
  virtual ~OutputParser() = default;

  // Valid UTF-8. Appends to `events`.
  virtual void Feed(std::string_view text, std::vector<OutputEvent>* events) = 0;
  // A control token of the vocabulary, by its text ("<|im_end|>"). Those the family has no use for
  // are dropped; they never become content.
  virtual void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) = 0;
  // The output ended: held-back text comes out, an unfinished tool call fails.
  virtual void Finish(std::vector<OutputEvent>* events) = 0;
};

// A row of families.cc.
struct ChatFamily {
  std::string_view name;  // "hermes", "plain"
  std::unique_ptr<OutputParser> (*make)(const ParserOptions& options);
  const CallSyntax* calls;  // null: has no way of its own to call tools
};

// The family a chat template belongs to, by the markup it writes. Never fails: "plain" is last.
const ChatFamily& FamilyOf(std::string_view template_source);
// The family whose calls are bare JSON objects.
const ChatFamily& BareJsonFamily();
// For models whose template knows no tools: they are told in words how to call one.
const ChatFamily& GenericToolFamily();

// Whether a prompt ends inside an open reasoning block, so that the output begins as reasoning.
bool EndsInOpenReasoning(std::string_view prompt, ReasoningTags tags = {});

}  // namespace conclave::engine
