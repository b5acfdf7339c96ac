#include "engine/grammar/answer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/tagged_arguments.h"

namespace conclave::engine::grammar {
namespace {

constexpr int32_t kSpacesMax = 4;

class AnswerBuilder final {
 public:
  AnswerBuilder(const AnswerShape& shape, const IsControl& is_control)
      : shape_(shape), is_control_(is_control), json_(&rules_) {}

  absl::StatusOr<Rules> Build() {
    rules_.root = rules_.AddRule("root");
    const bool channels =
        shape_.syntax != nullptr && shape_.syntax->form == CallSyntax::Form::kChannels;
    ASSIGN_OR_RETURN(const ExprId answer, channels ? Channels() : Answer());
    rules_.Define(rules_.root, answer);
    RETURN_IF_ERROR(rules_.status());
    return std::move(rules_);
  }

 private:
  using Form = CallSyntax::Form;

  // `text` with its control tokens as the vocabulary has them.
  std::string Spelled(std::string_view text, std::span<const std::string_view> tags) const {
    std::string spelled;
    while (!text.empty()) {
      const auto tag = std::find_if(tags.begin(), tags.end(), [&](std::string_view one) {
        return !one.empty() && text.starts_with(one) && is_control_(one);
      });
      if (tag != tags.end()) spelled += Rules::kControl;
      const size_t length = tag != tags.end() ? tag->size() : 1;
      spelled += text.substr(0, length);
      text.remove_prefix(length);
    }
    return spelled;
  }
  std::string Spelled(std::string_view text) const { return Spelled(text, shape_.syntax->tags); }
  ExprId Tag(std::string_view text) { return rules_.Text(Spelled(text)); }

  ExprId Spaces() { return rules_.Repeat(rules_.Set({{'\n', '\n'}, {' ', ' '}}), 0, kSpacesMax); }

  // Reasoning in front of `answer`, as the shape has it.
  ExprId Reasoned(ExprId answer) {
    if (shape_.reasoning == AnswerShape::Reasoning::kNone) return answer;
    const std::string_view tags[] = {shape_.reasoning_begin, shape_.reasoning_end};
    const ExprId rest =
        rules_.Sequence({rules_.Until(Spelled(shape_.reasoning_end, tags)), Spaces()});
    if (shape_.reasoning == AnswerShape::Reasoning::kOpen) return rules_.Sequence({rest, answer});
    const ExprId begin = rules_.Text(Spelled(shape_.reasoning_begin, tags));
    return rules_.Sequence({rules_.Optional(rules_.Sequence({Spaces(), begin, rest})), answer});
  }

  absl::StatusOr<ExprId> Answer() {
    std::vector<ExprId> ways;
    if (shape_.calls != AnswerShape::Calls::kNone) {
      ASSIGN_OR_RETURN(const ExprId calls, Calls());
      if (shape_.calls == AnswerShape::Calls::kAllowed && !shape_.format) {
        return Reasoned(FreeWith(calls));
      }
      ways.push_back(calls);
    }
    if (shape_.calls != AnswerShape::Calls::kRequired) {
      ASSIGN_OR_RETURN(const ExprId text, Final());
      ways.push_back(text);
    }
    return Reasoned(rules_.Choice(std::move(ways)));
  }

  absl::StatusOr<ExprId> Final() {
    if (!shape_.format) return rules_.Repeat(AnyByte(), 0, Rules::kUnbounded);
    return AddLanguage(shape_.format->language, shape_.format->definition, shape_.format->place,
                       &json_);
  }
  ExprId AnyByte() {
    Graph graph;
    graph.edges.push_back({.from = 0, .first = 0, .last = 0xFF, .to = 1});
    graph.final = {false, true};
    return rules_.AddGraph(std::move(graph));
  }

  // Free text in which the family's opening tag can only be the beginning of calls. Their section
  // ends the answer, or more text and calls follow where there may be several.
  ExprId FreeWith(ExprId calls) {
    const CallSyntax& syntax = *shape_.syntax;
    const std::string trigger =
        Spelled(syntax.trigger.empty() ? syntax.section_begin : syntax.trigger);
    const ExprId before = rules_.Without(trigger);
    const ExprId called = rules_.Sequence({before, calls});
    if (!syntax.bare) {
      if (!shape_.parallel || !syntax.section_end.empty()) {
        return rules_.Choice({before, called});
      }
      return rules_.Sequence({rules_.Repeat(called, 0, Rules::kUnbounded), before});
    }
    // A call may also stand alone, without its tag: then it is all there is.
    const RuleId rule = rules_.AddRule("calls");
    rules_.Define(rule, calls);
    calls = rules_.Call(rule);
    const ExprId other = rules_.Sequence(
        {Spaces(),
         rules_.Set(Complement({{'{', '{'}, {' ', ' '}, {'\t', '\t'}, {'\n', '\n'}, {'\r', '\r'}})),
         before});
    const ExprId empty = rules_.Text("");
    return rules_.Choice({empty, calls, other, rules_.Sequence({other, calls})});
  }

  // ---- calls

  absl::StatusOr<ExprId> Calls() {
    const CallSyntax& syntax = *shape_.syntax;
    ASSIGN_OR_RETURN(const ExprId call, Call());
    const ExprId more = rules_.Repeat(rules_.Sequence({Tag(syntax.separator), call}), 0,
                                      shape_.parallel ? Rules::kUnbounded : 0);
    std::vector<ExprId> parts;
    if (!syntax.section_begin.empty()) {
      const ExprId begin = Tag(syntax.section_begin);
      parts.push_back(syntax.bare ? rules_.Optional(begin) : begin);
    }
    if (syntax.spaced) parts.push_back(rules_.Optional(rules_.Text(" ")));
    if (syntax.list) parts.push_back(rules_.Text("["));
    parts.insert(parts.end(), {call, more, Tag(syntax.section_end)});
    return rules_.Sequence(std::move(parts));
  }

  absl::StatusOr<ExprId> Call() {
    const CallSyntax& syntax = *shape_.syntax;
    std::vector<ExprId> choices;
    for (const AnswerShape::Function& function : shape_.functions) {
      ASSIGN_OR_RETURN(const ExprId arguments, Arguments(function));
      std::vector<ExprId> parts = {
          Tag(absl::StrCat(std::string(syntax.call_begin), function.name))};
      if (syntax.numbered) {
        parts.push_back(rules_.Text(":"));
        parts.push_back(rules_.Repeat(rules_.Set({{'0', '9'}}), 1, 3));
      }
      if (!syntax.id_begin.empty()) {
        parts.push_back(rules_.Optional(rules_.Sequence({Tag(syntax.id_begin), IdLetters()})));
      }
      parts.push_back(Tag(syntax.name_end));
      parts.push_back(arguments);
      if (syntax.with_id) parts.push_back(rules_.Optional(Id()));
      parts.push_back(Tag(syntax.call_end));
      choices.push_back(rules_.Sequence(std::move(parts)));
    }
    return rules_.Choice(std::move(choices));
  }

  ExprId IdLetters() {
    return rules_.Repeat(rules_.Set({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}), 9, 9);
  }
  ExprId Id() {
    return rules_.Sequence({rules_.Text(", \"id\": \""), IdLetters(), rules_.Text("\"")});
  }

  absl::StatusOr<ExprId> Arguments(const AnswerShape::Function& function) {
    const SchemaOptions options{
        .place = function.place, .lenient = !function.strict, .object = true};
    if (shape_.syntax->form == Form::kTags) {
      CallSyntax spelled = *shape_.syntax;
      const std::string key_begin = Spelled(spelled.key_begin), key_end = Spelled(spelled.key_end),
                        value_end = Spelled(spelled.value_end);
      spelled.key_begin = key_begin;
      spelled.key_end = key_end;
      spelled.value_end = value_end;
      if (!function.held) return AnyTaggedArguments(spelled, &rules_);
      return AddTaggedArguments(function.schema, options, spelled, &json_);
    }
    if (!function.held) return json_.Object();
    if (function.schema.empty()) return rules_.Text("{}");
    ASSIGN_OR_RETURN(const ExprId arguments, AddJsonSchema(function.schema, options, &json_));
    return arguments;
  }

  // ---- gpt-oss

  // Its own kinds of message: analysis and preambles, then one call or the final text.
  absl::StatusOr<ExprId> Channels() {
    const ExprId note = rules_.Choice({Message("analysis"), Message("commentary")});
    const ExprId notes = shape_.reasoning == AnswerShape::Reasoning::kNone
                             ? rules_.Text("")
                             : rules_.Repeat(note, 0, Rules::kUnbounded);
    std::vector<ExprId> ways;
    if (shape_.calls != AnswerShape::Calls::kNone) {
      for (const AnswerShape::Function& function : shape_.functions) {
        ASSIGN_OR_RETURN(const ExprId arguments, Arguments(function));
        const std::string to = absl::StrCat(" to=functions.", function.name);
        // The recipient stands in front of the channel or behind it.
        const ExprId head = rules_.Choice({Tag(absl::StrCat("<|channel|>commentary", to)),
                                           Tag(absl::StrCat(to, "<|channel|>commentary"))});
        const ExprId kind =
            rules_.Optional(rules_.Choice({Tag(" <|constrain|>json"), Tag(" json")}));
        ways.push_back(rules_.Sequence({head, kind, Tag("<|message|>"), arguments}));
      }
    }
    if (shape_.calls != AnswerShape::Calls::kRequired) {
      ASSIGN_OR_RETURN(const ExprId text, Final());
      ways.push_back(rules_.Sequence({Tag("<|channel|>final<|message|>"), text}));
    }
    return rules_.Sequence({notes, rules_.Choice(std::move(ways))});
  }

  ExprId Message(std::string_view channel) {
    return rules_.Sequence({Tag(absl::StrCat("<|channel|>", std::string(channel), "<|message|>")),
                            rules_.Until(Spelled("<|end|>")), Tag("<|start|>assistant")});
  }

  const AnswerShape& shape_;
  const IsControl& is_control_;
  Rules rules_;
  JsonText json_;
};

}  // namespace

absl::StatusOr<Automaton> CompileAnswer(const AnswerShape& shape, const IsControl& is_control) {
  ASSIGN_OR_RETURN(const Rules rules, AnswerBuilder(shape, is_control).Build());
  auto automaton = CompileRules(rules);
  if (automaton.ok()) return automaton;
  const std::string place = shape.format                  ? shape.format->place
                            : shape.functions.size() == 1 ? shape.functions[0].place
                                                          : "tools";
  return base::WithParam(base::Annotate(automaton.status(), place), place);
}

std::string KeyOf(const AnswerShape& shape) {
  // Lengths in front, so that no text passes for two.
  std::string key;
  const auto add = [&](std::string_view text) {
    absl::StrAppend(&key, text.size(), ":", std::string(text));
  };
  absl::StrAppend(&key, static_cast<int>(shape.calls), shape.parallel, ",",
                  static_cast<int>(shape.reasoning), ",");
  add(shape.reasoning_begin);
  add(shape.reasoning_end);
  if (const CallSyntax* const calls = shape.syntax) {
    // Models made with other templates share the cache of their base.
    for (const std::string_view text :
         {calls->section_begin, calls->separator, calls->call_begin, calls->name_end,
          calls->call_end, calls->trigger, calls->id_begin, calls->key_begin, calls->key_end}) {
      add(text);
    }
  }
  for (const AnswerShape::Function& function : shape.functions) {
    add(function.name);
    add(function.schema);
    absl::StrAppend(&key, function.held, function.strict);
  }
  if (shape.format) {
    absl::StrAppend(&key, ";", static_cast<int>(shape.format->language), ",");
    add(shape.format->definition);
  }
  return key;
}

}  // namespace conclave::engine::grammar
