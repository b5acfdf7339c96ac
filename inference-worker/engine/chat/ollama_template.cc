#include "engine/chat/ollama_template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "engine/chat/go_parser.h"
#include "engine/chat/ollama_values.h"

namespace conclave::engine {
namespace {

using gotmpl::Command;
using gotmpl::Map;
using gotmpl::Node;
using gotmpl::NodeList;
using gotmpl::Operand;
using gotmpl::Pipe;
using gotmpl::Text;
using gotmpl::Value;

void AddNames(const Pipe& pipe, std::set<std::string>* names) {
  for (const Command& command : pipe.commands) {
    for (const Operand& operand : command) {
      const bool names_data = operand.kind == Operand::Kind::kField ||
                              operand.kind == Operand::Kind::kVariable ||
                              operand.kind == Operand::Kind::kChain;
      for (const std::string& name : operand.path) {
        if (names_data) names->insert(absl::AsciiStrToLower(name));
      }
      if (operand.pipe != nullptr) AddNames(*operand.pipe, names);
    }
  }
}

void AddNames(const NodeList& nodes, std::set<std::string>* names) {
  for (const Node& node : nodes) {
    if (node.pipe != nullptr) AddNames(*node.pipe, names);
    AddNames(node.body, names);
    AddNames(node.otherwise, names);
  }
}

bool NamesField(const Pipe& pipe, std::string_view field) {
  return std::any_of(pipe.commands.begin(), pipe.commands.end(), [&](const Command& command) {
    return std::any_of(command.begin(), command.end(), [&](const Operand& operand) {
      return operand.kind == Operand::Kind::kField &&
             std::find(operand.path.begin(), operand.path.end(), field) != operand.path.end();
    });
  });
}

Node ResponseNode() {
  auto pipe = std::make_shared<Pipe>();
  pipe->commands = {{{.kind = Operand::Kind::kField, .text = "Response", .path = {"Response"}}}};
  return {.kind = Node::Kind::kAction, .pipe = std::move(pipe)};
}

// Copies what stands before the place where the answer goes, and that place. Conditions are not
// places.
class Cutter final {
 public:
  NodeList Cut(const NodeList& nodes) {
    NodeList kept;
    for (const Node& node : nodes) {
      if (cut_) break;
      Node copy = node;
      if (node.kind == Node::Kind::kAction) {
        CutAction(&copy);
      } else {
        copy.body = Cut(node.body);
        copy.otherwise = Cut(node.otherwise);
      }
      if (copy.kind != Node::Kind::kAction || copy.pipe != nullptr) kept.push_back(std::move(copy));
    }
    return kept;
  }

 private:
  // Of an action that has .Response among others, what stands behind it in its command goes; one
  // with further stages goes altogether.
  void CutAction(Node* node) {
    const std::vector<Command>& commands = node->pipe->commands;
    for (size_t i = 0; i < commands.size() && !cut_; ++i) {
      for (size_t j = 0; j < commands[i].size() && !cut_; ++j) {
        const Operand& operand = commands[i][j];
        cut_ =
            operand.kind == Operand::Kind::kField &&
            std::find(operand.path.begin(), operand.path.end(), "Response") != operand.path.end();
        if (!cut_) continue;
        if (i + 1 < commands.size()) {
          node->pipe = nullptr;
          return;
        }
        auto pipe = std::make_shared<Pipe>(*node->pipe);
        pipe->commands[i].resize(j + 1);
        node->pipe = std::move(pipe);
        return;
      }
    }
  }

  bool cut_ = false;
};

// The first text that is more than spaces; nullptr also where something is printed before.
const Node* FirstText(const NodeList& nodes, bool* stopped) {
  for (const Node& node : nodes) {
    if (node.kind == Node::Kind::kText) {
      if (absl::StripAsciiWhitespace(node.text).empty()) continue;
      return &node;
    }
    if (const Node* text = FirstText(node.body, stopped)) return text;
    if (*stopped) return nullptr;
    if (const Node* text = FirstText(node.otherwise, stopped)) return text;
    *stopped = true;
    return nullptr;
  }
  return nullptr;
}

// Where the calls of an earlier answer are written.
const NodeList* FindCalls(const NodeList& nodes) {
  for (const Node& node : nodes) {
    const bool asks = node.kind == Node::Kind::kIf || node.kind == Node::Kind::kRange ||
                      node.kind == Node::Kind::kWith;
    if (asks && NamesField(*node.pipe, "ToolCalls")) return &node.body;
    if (const NodeList* found = FindCalls(node.body)) return found;
    if (const NodeList* found = FindCalls(node.otherwise)) return found;
  }
  return nullptr;
}

std::string CallMark(const NodeList& root) {
  const NodeList* const calls = FindCalls(root);
  if (calls == nullptr) return "";
  bool stopped = false;
  const Node* const text = FirstText(*calls, &stopped);
  if (text == nullptr) return "{";
  const std::string mark(absl::StripAsciiWhitespace(text->text.substr(0, text->text.find('{'))));
  return mark.empty() ? "{" : mark;
}

Value UserText(std::string_view text) { return Value(Text::FromUser(std::string(text))); }

void Set(std::string key, Value value, Map* to) {
  to->items.emplace_back(Text(std::move(key)), std::move(value));
}

Value Finish(Map map) {
  map.Sort();
  return Value(std::move(map));
}

}  // namespace

absl::StatusOr<OllamaTemplate> OllamaTemplate::Parse(std::string_view source) {
  OllamaTemplate parsed;
  ASSIGN_OR_RETURN(parsed.program_, gotmpl::ParseTemplate(source));
  NodeList& root = parsed.program_.root;
  AddNames(root, &parsed.names_);
  for (const auto& [name, nodes] : parsed.program_.defined) AddNames(nodes, &parsed.names_);
  if (!parsed.Names("messages") && !parsed.Names("response")) root.push_back(ResponseNode());
  parsed.last_ = Cutter().Cut(root);
  parsed.call_mark_ = CallMark(root);
  return parsed;
}

void OllamaTemplate::AddThinking(const Conversation& conversation, Map* to) const {
  // A model whose thoughts the template shows thinks unless it is told not to.
  bool set = Names("thinking");
  bool think = set;
  std::string level;
  for (const auto& [name, json] : conversation.template_variables) {
    if (name == "enable_thinking") {
      think = json == "true";
      set = true;
    } else if (name == "reasoning_effort") {
      const auto value = GoValueOfJson(json);
      if (value.ok() && value->is_string()) level = value->as_text().bytes;
    }
  }
  if (!think) level.clear();
  if (think && level.empty()) level = "medium";  // of a plain yes
  if (level == "max") level = "high";
  Set("Think", Value(think), to);
  Set("ThinkLevel", UserText(level), to);
  Set("IsThinkSet", Value(set), to);
}

absl::Status OllamaTemplate::RenderInfill(std::string_view prompt, std::string_view suffix,
                                          gotmpl::Interpreter& in) const {
  Map data;
  Set("Prompt", UserText(prompt), &data);
  Set("Suffix", UserText(suffix), &data);
  Set("Response", Value::Own(""), &data);
  AddThinking({}, &data);
  return in.Execute(program_, program_.root, Finish(std::move(data)));
}

absl::Status OllamaTemplate::Render(const Conversation& conversation,
                                    gotmpl::Interpreter& in) const {
  const Collated collated = Collate(conversation.messages);
  if (!Names("messages")) return RenderTurns(conversation, collated.messages, in);
  ASSIGN_OR_RETURN(Value tools, ToolsForGo(conversation.tools));
  Map data;
  Set("System", UserText(collated.system), &data);
  Set("Messages", MessagesValue(collated.messages), &data);
  Set("Tools", std::move(tools), &data);
  Set("Response", Value::Own(""), &data);
  AddThinking(conversation, &data);
  return in.Execute(program_, program_.root, Finish(std::move(data)));
}

Value OllamaTemplate::DataOf(const Turn& turn, const Conversation& conversation) const {
  Map data;
  Set("System", UserText(turn.system), &data);
  Set("Prompt", UserText(turn.prompt), &data);
  Set("Response", UserText(turn.response), &data);
  AddThinking(conversation, &data);
  return Finish(std::move(data));
}

absl::Status OllamaTemplate::RenderTurns(const Conversation& conversation,
                                         const std::vector<Message>& messages,
                                         gotmpl::Interpreter& in) const {
  Turn turn;
  for (const Message& message : messages) {
    const bool system = message.role == "system", user = message.role == "user";
    const bool begins = (system && (!turn.prompt.empty() || !turn.response.empty())) ||
                        (user && !turn.response.empty());
    if (begins) {
      RETURN_IF_ERROR(in.Execute(program_, program_.root, DataOf(turn, conversation)));
      turn = {};
    }
    if (system) turn.system = message.content;
    if (user) turn.prompt = message.content;
    if (message.role == "assistant") turn.response = message.content;
  }
  return in.Execute(program_, last_, DataOf(turn, conversation));
}

}  // namespace conclave::engine
