#include "backends/script.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using base::JsonValue;

constexpr int64_t kDelayMsMax = 600'000;
constexpr int64_t kRulesMax = 1'000;
constexpr int64_t kStepsMax = 10'000;

constexpr std::array<std::pair<std::string_view, absl::StatusCode>, 12> kCodes = {{
    {"CANCELLED", absl::StatusCode::kCancelled},
    {"INVALID_ARGUMENT", absl::StatusCode::kInvalidArgument},
    {"DEADLINE_EXCEEDED", absl::StatusCode::kDeadlineExceeded},
    {"NOT_FOUND", absl::StatusCode::kNotFound},
    {"PERMISSION_DENIED", absl::StatusCode::kPermissionDenied},
    {"RESOURCE_EXHAUSTED", absl::StatusCode::kResourceExhausted},
    {"FAILED_PRECONDITION", absl::StatusCode::kFailedPrecondition},
    {"ABORTED", absl::StatusCode::kAborted},
    {"OUT_OF_RANGE", absl::StatusCode::kOutOfRange},
    {"UNIMPLEMENTED", absl::StatusCode::kUnimplemented},
    {"INTERNAL", absl::StatusCode::kInternal},
    {"UNAVAILABLE", absl::StatusCode::kUnavailable},
}};

// Refuses members outside `known`.
absl::Status OnlyMembers(const JsonValue& object, std::initializer_list<std::string_view> known) {
  RETURN_IF_ERROR(object.ExpectObject());
  absl::Status status;
  object.ForEachMember([&](std::string_view key, JsonValue value) {
    if (status.ok() && std::find(known.begin(), known.end(), key) == known.end()) {
      status = value.Error("unknown field");
    }
  });
  return status;
}

absl::Status ReadFailure(const JsonValue& value, absl::Status* failure) {
  RETURN_IF_ERROR(OnlyMembers(value, {"code", "message", "reason", "param", "retry_after_ms"}));
  ASSIGN_OR_RETURN(const std::string code, value.Get("code").AsString());
  const auto* row = std::find_if(kCodes.begin(), kCodes.end(),
                                 [&](const auto& entry) { return entry.first == code; });
  if (row == kCodes.end()) return value.Get("code").Error("not the name of a status code");
  ASSIGN_OR_RETURN(const auto message, value.Get("message").OptionalString());
  ASSIGN_OR_RETURN(const auto reason, value.Get("reason").OptionalString());
  ASSIGN_OR_RETURN(const auto param, value.Get("param").OptionalString());
  ASSIGN_OR_RETURN(const auto retry, value.Get("retry_after_ms").OptionalInt(0, kDelayMsMax));
  absl::Status status(row->second, message.value_or("the script says so"));
  if (reason) status = base::WithReason(std::move(status), *reason);
  if (param) status = base::WithParam(std::move(status), *param);
  if (retry) status = base::WithRetryAfter(std::move(status), std::chrono::milliseconds(*retry));
  *failure = std::move(status);
  return absl::OkStatus();
}

absl::StatusOr<ScriptStep> ReadToolCall(const JsonValue& value) {
  RETURN_IF_ERROR(OnlyMembers(value, {"name", "arguments"}));
  ScriptStep step;
  step.kind = ScriptStep::Kind::kToolCall;
  ASSIGN_OR_RETURN(step.name, value.Get("name").AsString());
  const JsonValue arguments = value.Get("arguments");
  if (arguments.missing()) {
    step.text = "{}";
  } else if (arguments.is_string()) {
    ASSIGN_OR_RETURN(step.text, arguments.AsString());
  } else {
    step.text = arguments.ToJson();
  }
  return step;
}

absl::StatusOr<ScriptStep> ReadStep(const JsonValue& value) {
  RETURN_IF_ERROR(
      OnlyMembers(value, {"text", "reasoning", "tool_call", "delay_ms", "fail", "hang"}));
  if (value.size() != 1) return value.Error("expected exactly one kind of step");
  ScriptStep step;
  if (value.Get("text").present()) {
    ASSIGN_OR_RETURN(step.text, value.Get("text").AsString());
  } else if (value.Get("reasoning").present()) {
    step.kind = ScriptStep::Kind::kReasoning;
    ASSIGN_OR_RETURN(step.text, value.Get("reasoning").AsString());
  } else if (value.Get("tool_call").present()) {
    return ReadToolCall(value.Get("tool_call"));
  } else if (value.Get("delay_ms").present()) {
    step.kind = ScriptStep::Kind::kDelay;
    ASSIGN_OR_RETURN(step.delay_ms, value.Get("delay_ms").AsInt(0, kDelayMsMax));
  } else if (value.Get("fail").present()) {
    step.kind = ScriptStep::Kind::kFail;
    RETURN_IF_ERROR(ReadFailure(value.Get("fail"), &step.status));
  } else {
    step.kind = ScriptStep::Kind::kHang;
  }
  return step;
}

absl::Status ReadConditions(const JsonValue& when, ScriptRule* rule) {
  if (when.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(
      OnlyMembers(when, {"last_contains", "last_role", "prompt_contains", "has_tools"}));
  ASSIGN_OR_RETURN(const auto last_contains, when.Get("last_contains").OptionalString());
  ASSIGN_OR_RETURN(const auto last_role, when.Get("last_role").OptionalString());
  ASSIGN_OR_RETURN(const auto prompt_contains, when.Get("prompt_contains").OptionalString());
  ASSIGN_OR_RETURN(rule->has_tools, when.Get("has_tools").OptionalBool());
  rule->last_contains = last_contains.value_or("");
  rule->last_role = last_role.value_or("");
  rule->prompt_contains = prompt_contains.value_or("");
  return absl::OkStatus();
}

absl::StatusOr<ScriptRule::Mode> ReadMode(const JsonValue& value, bool has_steps) {
  if (value.missing()) return has_steps ? ScriptRule::Mode::kSteps : ScriptRule::Mode::kEcho;
  ASSIGN_OR_RETURN(const std::string mode, value.AsString());
  if (mode == "steps") return ScriptRule::Mode::kSteps;
  if (mode == "echo") return ScriptRule::Mode::kEcho;
  if (mode == "counts") return ScriptRule::Mode::kCounts;
  if (mode == "dice") return ScriptRule::Mode::kDice;
  return value.Error("expected steps, echo, counts or dice");
}

absl::StatusOr<ScriptRule> ReadRule(const JsonValue& value) {
  RETURN_IF_ERROR(OnlyMembers(value, {"when", "times", "refuse", "mode", "count", "steps", "finish",
                                      "token_ms", "prefill_ms"}));
  ScriptRule rule;
  RETURN_IF_ERROR(ReadConditions(value.Get("when"), &rule));
  ASSIGN_OR_RETURN(const auto times, value.Get("times").OptionalInt(0, 1'000'000));
  rule.times = times.value_or(-1);
  if (!value.Get("refuse").missing()) {
    RETURN_IF_ERROR(ReadFailure(value.Get("refuse"), &rule.refuse));
  }
  const JsonValue steps = value.Get("steps");
  ASSIGN_OR_RETURN(rule.mode, ReadMode(value.Get("mode"), !steps.missing()));
  if (!steps.missing()) {
    RETURN_IF_ERROR(steps.ExpectArray());
    if (steps.size() > kStepsMax) return steps.Error("more than 10000 steps");
    for (size_t i = 0; i < steps.size(); ++i) {
      ASSIGN_OR_RETURN(ScriptStep step, ReadStep(steps.At(i)));
      rule.steps.push_back(std::move(step));
    }
  }
  ASSIGN_OR_RETURN(const auto count, value.Get("count").OptionalInt(0, 1'000'000));
  rule.count = count.value_or(32);
  ASSIGN_OR_RETURN(const auto finish, value.Get("finish").OptionalString());
  if (finish && *finish != "stop" && *finish != "length") {
    return value.Get("finish").Error("expected stop or length");
  }
  if (finish == "length") rule.finish = Finished::Reason::kLength;
  ASSIGN_OR_RETURN(rule.token_ms, value.Get("token_ms").OptionalInt(0, kDelayMsMax));
  ASSIGN_OR_RETURN(rule.prefill_ms, value.Get("prefill_ms").OptionalInt(0, kDelayMsMax));
  return rule;
}

absl::StatusOr<std::vector<std::string>> ReadStrings(const JsonValue& value) {
  RETURN_IF_ERROR(value.ExpectArray());
  std::vector<std::string> strings;
  for (size_t i = 0; i < value.size(); ++i) {
    ASSIGN_OR_RETURN(std::string text, value.At(i).AsString());
    strings.push_back(std::move(text));
  }
  return strings;
}

std::string LastWord(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t end = text.find_last_not_of(kSpaces);
  if (end == std::string_view::npos) return "empty";
  const size_t space = text.find_last_of(kSpaces, end);
  const size_t begin = space == std::string_view::npos ? 0 : space + 1;
  return std::string(text.substr(begin, end + 1 - begin));
}

std::string CountsText(std::string_view last, int64_t count) {
  const std::string word = LastWord(last);
  std::string text;
  for (int64_t i = 0; i < count; ++i) absl::StrAppend(&text, i == 0 ? "" : " ", word, ":", i);
  return text;
}

std::string DiceText(uint64_t seed, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", Draw(seed, static_cast<uint64_t>(i)) % 1000);
  }
  return text;
}

void AppendText(ScriptAction::Kind kind, std::string_view text, int32_t call_index,
                std::vector<ScriptAction>* actions) {
  for (const TokenId id : CodePoints(text)) {
    actions->push_back(
        {.kind = kind, .id = id, .text = CodePointText(id), .call_index = call_index});
  }
}

void AppendCall(std::string_view name, std::string_view arguments, int32_t index,
                std::vector<ScriptAction>* actions) {
  actions->push_back({.kind = ScriptAction::Kind::kCallBegin,
                      .id = kScriptCallBegin,
                      .text = std::string(name),
                      .call_index = index});
  AppendText(ScriptAction::Kind::kCallArguments, arguments, index, actions);
  actions->push_back(
      {.kind = ScriptAction::Kind::kCallEnd, .id = kScriptCallEnd, .call_index = index});
}

std::vector<ScriptAction> StepActions(const std::vector<ScriptStep>& steps) {
  std::vector<ScriptAction> actions;
  int32_t calls = 0;
  for (const ScriptStep& step : steps) {
    switch (step.kind) {
      case ScriptStep::Kind::kText:
        AppendText(ScriptAction::Kind::kText, step.text, 0, &actions);
        break;
      case ScriptStep::Kind::kReasoning:
        AppendText(ScriptAction::Kind::kReasoning, step.text, 0, &actions);
        break;
      case ScriptStep::Kind::kToolCall:
        AppendCall(step.name, step.text, calls++, &actions);
        break;
      case ScriptStep::Kind::kDelay:
        actions.push_back({.kind = ScriptAction::Kind::kDelay, .delay_ms = step.delay_ms});
        break;
      case ScriptStep::Kind::kFail:
        actions.push_back({.kind = ScriptAction::Kind::kFail, .status = step.status});
        break;
      case ScriptStep::Kind::kHang:
        actions.push_back({.kind = ScriptAction::Kind::kHang});
        break;
    }
  }
  return actions;
}

std::vector<ScriptAction> AllActions(const ScriptRule* rule, const ScriptPrompt& prompt,
                                     uint64_t seed) {
  std::vector<ScriptAction> actions;
  const auto mode = rule == nullptr ? ScriptRule::Mode::kEcho : rule->mode;
  if (mode == ScriptRule::Mode::kSteps) return StepActions(rule->steps);
  if (!prompt.forced_tool.empty()) {
    AppendCall(prompt.forced_tool, "{}", 0, &actions);
    return actions;
  }
  std::string text = prompt.last;
  if (mode == ScriptRule::Mode::kCounts) text = CountsText(prompt.last, rule->count);
  if (mode == ScriptRule::Mode::kDice) text = DiceText(seed, rule->count);
  AppendText(ScriptAction::Kind::kText, text, 0, &actions);
  return actions;
}

// Cuts the answer where the first stop string begins in the text, or before a stop id.
void ApplyStops(const StopConditions& stop, ScriptAnswer* answer) {
  std::string text;
  std::vector<size_t> action_of_byte;
  for (size_t i = 0; i < answer->actions.size(); ++i) {
    const ScriptAction& action = answer->actions[i];
    const bool is_stop_id =
        action.emits() &&
        std::find(stop.token_ids.begin(), stop.token_ids.end(), action.id) != stop.token_ids.end();
    if (is_stop_id) {
      answer->matched_stop_id = action.id;
      answer->reason = Finished::Reason::kStop;
      answer->actions.resize(i);
      break;
    }
    if (action.kind != ScriptAction::Kind::kText) continue;
    text += action.text;
    action_of_byte.resize(text.size(), i);
  }
  size_t first = std::string::npos;
  for (const std::string& candidate : stop.strings) {
    const size_t at = text.find(candidate);
    if (at >= first) continue;
    first = at;
    answer->matched_stop = candidate;
  }
  if (first == std::string::npos) return;
  answer->matched_stop_id = -1;
  answer->reason = Finished::Reason::kStop;
  answer->actions.resize(action_of_byte[first]);
}

// Keeps the first `limit` tokens.
void ApplyLength(int32_t limit, ScriptAnswer* answer) {
  int32_t tokens = 0;
  for (size_t i = 0; i < answer->actions.size(); ++i) {
    if (!answer->actions[i].emits()) continue;
    if (tokens++ < limit) continue;
    answer->actions.resize(i);
    answer->reason = Finished::Reason::kLength;
    answer->matched_stop.clear();
    answer->matched_stop_id = -1;
    return;
  }
}

std::string ForcedTool(const ChatPrompt& chat) {
  if (chat.tool_choice.mode == ToolChoice::Mode::kNamed) return chat.tool_choice.name;
  if (chat.tool_choice.mode == ToolChoice::Mode::kRequired && !chat.conversation.tools.empty()) {
    return chat.conversation.tools.front().name;
  }
  return "";
}

// A prompt with a gap as a text that shows all of its parts.
std::string InfillText(std::string_view before, const Infill& infill) {
  std::string text;
  for (const InfillFile& file : infill.files) {
    absl::StrAppend(&text, "<file>", file.name, "\n", file.text);
  }
  absl::StrAppend(&text, "<before>", std::string(before), "<after>", infill.suffix, "<gap>");
  return text;
}

}  // namespace

std::chrono::nanoseconds Script::StepAfter(std::chrono::nanoseconds due) const {
  if (step_ms == 0) return due;
  const std::chrono::nanoseconds step = std::chrono::milliseconds(step_ms);
  return step * (due / step + 1);
}

absl::StatusOr<Script> ParseScript(std::string_view json) {
  ASSIGN_OR_RETURN(const base::JsonDocument doc, base::JsonDocument::Parse(json));
  const JsonValue root = doc.root();
  RETURN_IF_ERROR(OnlyMembers(root, {"context_length", "slots", "max_queued", "token_ms",
                                     "prefill_ms", "step_ms", "aliases", "capabilities", "rules"}));
  Script script;
  script.fingerprint = HashBytes(json);
  ASSIGN_OR_RETURN(const auto context, root.Get("context_length").OptionalInt(1, 10'000'000));
  ASSIGN_OR_RETURN(const auto slots, root.Get("slots").OptionalInt(1, 100'000));
  ASSIGN_OR_RETURN(const auto queued, root.Get("max_queued").OptionalInt(0, 100'000));
  ASSIGN_OR_RETURN(const auto token_ms, root.Get("token_ms").OptionalInt(0, kDelayMsMax));
  ASSIGN_OR_RETURN(const auto prefill_ms, root.Get("prefill_ms").OptionalInt(0, kDelayMsMax));
  ASSIGN_OR_RETURN(const auto step_ms, root.Get("step_ms").OptionalInt(0, kDelayMsMax));
  script.context_length = static_cast<int32_t>(context.value_or(script.context_length));
  script.slots = static_cast<int32_t>(slots.value_or(script.slots));
  script.max_queued = static_cast<int32_t>(queued.value_or(script.max_queued));
  script.token_ms = token_ms.value_or(0);
  script.prefill_ms = prefill_ms.value_or(0);
  script.step_ms = step_ms.value_or(0);
  if (!root.Get("aliases").missing()) {
    ASSIGN_OR_RETURN(script.aliases, ReadStrings(root.Get("aliases")));
  }
  if (!root.Get("capabilities").missing()) {
    ASSIGN_OR_RETURN(script.capabilities, ReadStrings(root.Get("capabilities")));
  }
  const JsonValue rules = root.Get("rules");
  if (rules.missing()) return script;
  RETURN_IF_ERROR(rules.ExpectArray());
  if (rules.size() > kRulesMax) return rules.Error("more than 1000 rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    ASSIGN_OR_RETURN(ScriptRule rule, ReadRule(rules.At(i)));
    script.rules.push_back(std::move(rule));
  }
  return script;
}

absl::StatusOr<ScriptPrompt> ReadScriptPrompt(const GenerateRequest& request) {
  ScriptPrompt prompt;
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    if (chat->conversation.messages.empty()) {
      return base::WithParam(base::InvalidArgument("messages: must not be empty"), "messages");
    }
    for (const engine::Message& message : chat->conversation.messages) {
      absl::StrAppend(&prompt.text, message.role, ": ", message.content, "\n");
    }
    prompt.last = chat->conversation.messages.back().content;
    prompt.last_role = chat->conversation.messages.back().role;
    prompt.has_tools =
        !chat->conversation.tools.empty() && chat->tool_choice.mode != ToolChoice::Mode::kNone;
    prompt.forced_tool = ForcedTool(*chat);
  } else if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    prompt.text = request.infill ? InfillText(text->text, *request.infill) : text->text;
    prompt.last = prompt.text;
  } else {
    for (const TokenId id : std::get<TokenPrompt>(request.prompt).ids) {
      if (id < 0 || id >= kScriptVocabSize) {
        return base::WithParam(base::InvalidArgument(absl::StrCat("prompt: token id ", id,
                                                                  " is not in the vocabulary")),
                               "prompt");
      }
      prompt.text += CodePointText(id);
    }
    prompt.last = prompt.text;
  }
  if (prompt.text.empty()) {
    return base::WithParam(base::InvalidArgument("prompt: must not be empty"), "prompt");
  }
  prompt.num_tokens = static_cast<int32_t>(CodePoints(prompt.text).size());
  return prompt;
}

bool Matches(const ScriptRule& rule, const ScriptPrompt& prompt) {
  return prompt.last.find(rule.last_contains) != std::string::npos &&
         prompt.text.find(rule.prompt_contains) != std::string::npos &&
         (rule.last_role.empty() || rule.last_role == prompt.last_role) &&
         (!rule.has_tools || *rule.has_tools == prompt.has_tools);
}

ScriptAnswer MakeAnswer(const ScriptRule* rule, const ScriptPrompt& prompt,
                        const StopConditions& stop, uint64_t seed, int32_t room) {
  ScriptAnswer answer;
  answer.actions = AllActions(rule, prompt, seed);
  answer.reason = rule == nullptr ? Finished::Reason::kStop : rule->finish;
  ApplyStops(stop, &answer);
  ApplyLength(std::min(stop.max_tokens.value_or(room), room), &answer);
  const bool called = std::any_of(
      answer.actions.begin(), answer.actions.end(),
      [](const ScriptAction& action) { return action.kind == ScriptAction::Kind::kCallEnd; });
  if (called && answer.reason == Finished::Reason::kStop) {
    answer.reason = Finished::Reason::kToolCalls;
  }
  return answer;
}

std::string ToolCallId(uint64_t seed, uint64_t prompt_hash, int32_t index) {
  const uint64_t high = Draw(seed ^ prompt_hash, 2 * static_cast<uint64_t>(index));
  const uint64_t low = Draw(seed ^ prompt_hash, 2 * static_cast<uint64_t>(index) + 1);
  return absl::StrCat("call_", absl::Hex(high, absl::kZeroPad16),
                      absl::Hex(low & 0xFFFFFFFFu, absl::kZeroPad8));
}

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

uint64_t Draw(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::vector<TokenId> CodePoints(std::string_view text) {
  std::vector<TokenId> ids;
  ids.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    TokenId id = length == 1 ? lead : lead & (0xFF >> (length + 1));
    bool valid = length > 0 && i + length <= text.size();
    for (size_t k = 1; valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      valid = (next & 0xC0) == 0x80;
      id = (id << 6) | (next & 0x3F);
    }
    ids.push_back(valid ? id : 0xFFFD);
    i += valid ? length : 1;
  }
  return ids;
}

std::string CodePointText(TokenId id) {
  std::string text;
  const auto put = [&](int32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (id < 0 || id >= 0x110000) return text;
  if (id >= 0xD800 && id < 0xE000) id = 0xFFFD;  // half a character: not text
  if (id < 0x80) {
    put(id);
  } else if (id < 0x800) {
    put(0xC0 | (id >> 6));
    put(0x80 | (id & 0x3F));
  } else if (id < 0x10000) {
    put(0xE0 | (id >> 12));
    put(0x80 | ((id >> 6) & 0x3F));
    put(0x80 | (id & 0x3F));
  } else {
    put(0xF0 | (id >> 18));
    put(0x80 | ((id >> 12) & 0x3F));
    put(0x80 | ((id >> 6) & 0x3F));
    put(0x80 | (id & 0x3F));
  }
  return text;
}

}  // namespace conclave::backends
