#include "engine/grammar/json_text.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/grammar/characters.h"
#include "engine/grammar/json_numbers.h"

namespace conclave::engine::grammar {
namespace {

constexpr int32_t kIndentMax = 20;

// What a string may hold as it is.
std::vector<CodeRange> Plain() { return Complement({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}); }

std::string EscapeOf(uint32_t scalar) {
  constexpr std::string_view kFrom = "\"\\\b\f\n\r\t", kTo = "\"\\bfnrt";
  const size_t at = kFrom.find(static_cast<char>(scalar));
  if (at != std::string_view::npos) return {'\\', kTo[at]};
  return absl::StrFormat("\\u%04x", scalar);
}

// The bytes that plain text goes on with, and the place each leads to.
std::vector<Utf8Edge> PlainEdges(int place) {
  if (place != 0) return {kUtf8Nexts[static_cast<size_t>(place)]};
  std::vector<Utf8Edge> edges = {{0x20, '"' - 1, 0}, {'"' + 1, '\\' - 1, 0}, {'\\' + 1, 0x7F, 0}};
  edges.insert(edges.end(), kUtf8Starts.begin(), kUtf8Starts.end());
  return edges;
}

// Of plain, well-formed text.
int PlaceAfter(uint8_t byte, int place) {
  for (const Utf8Edge& edge : PlainEdges(place)) {
    if (byte >= edge.first && byte <= edge.last) return edge.to;
  }
  return 0;
}

// The bytes of `edge`: to `other`, but for those that go along `names`.
void AddBesides(const Utf8Edge& edge, int32_t from, int32_t other,
                const std::map<uint8_t, int32_t>& names, Graph* graph) {
  int first = edge.first;
  const auto others = [&](int last) {
    if (first > last) return;
    graph->edges.push_back({from, static_cast<uint8_t>(first), static_cast<uint8_t>(last), other});
  };
  for (auto it = names.lower_bound(edge.first); it != names.end() && it->first <= edge.last; ++it) {
    others(it->first - 1);
    graph->edges.push_back({from, it->first, it->first, it->second});
    first = it->first + 1;
  }
  others(edge.last);
}

}  // namespace

ExprId JsonText::Space() {
  if (!space_) {
    const RuleId rule = rules_.AddRule("space");
    space_ = rules_.Call(rule);
    rules_.Define(
        rule, rules_.Choice({rules_.Text(""), rules_.Text(" "),
                             rules_.Sequence({rules_.Text("\n"),
                                              rules_.Repeat(rules_.Text(" "), 0, kIndentMax)})}));
  }
  return *space_;
}

ExprId JsonText::Comma() {
  if (!comma_) comma_ = rules_.Sequence({Space(), rules_.Text(","), Space()});
  return *comma_;
}

ExprId JsonText::Char() {
  if (!char_) {
    const auto digits = [&](std::string_view first, std::string_view last) {
      return CodeRange{static_cast<uint32_t>(first[0]), static_cast<uint32_t>(last[0])};
    };
    const ExprId hex = rules_.Set({digits("0", "9"), digits("a", "f"), digits("A", "F")});
    const ExprId hex2 = rules_.Repeat(hex, 2, 2), hex3 = rules_.Repeat(hex, 3, 3);
    const ExprId nonzero = rules_.Set({digits("1", "9"), digits("a", "f"), digits("A", "F")});
    const ExprId d = rules_.Set({{'d', 'd'}, {'D', 'D'}});
    const ExprId below_8 = rules_.Set({digits("0", "7")});
    const ExprId high = rules_.Set({{'8', '9'}, {'a', 'b'}, {'A', 'B'}});
    const ExprId low = rules_.Set({{'c', 'f'}, {'C', 'F'}});
    const ExprId zero = rules_.Text("0");
    // Four digits that are neither NUL nor a surrogate.
    const ExprId unit = rules_.Choice(
        {rules_.Sequence(
             {rules_.Set({{'1', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), hex3}),
         rules_.Sequence({d, below_8, hex2}), rules_.Sequence({zero, nonzero, hex2}),
         rules_.Sequence({zero, zero, nonzero, hex}),
         rules_.Sequence({zero, zero, zero, nonzero})});
    const ExprId pair = rules_.Sequence({d, high, hex2, rules_.Text("\\u"), d, low, hex2});
    const ExprId letter = rules_.Set({{'"', '"'},
                                      {'\\', '\\'},
                                      {'/', '/'},
                                      {'b', 'b'},
                                      {'f', 'f'},
                                      {'n', 'n'},
                                      {'r', 'r'},
                                      {'t', 't'}});
    ExprId escape =
        rules_.Choice({letter, rules_.Sequence({rules_.Text("u"), rules_.Choice({unit, pair})})});
    if (escapes_ == Escapes::kShared) {
      // Strings of bounded length have it at each of their characters.
      const RuleId rule = rules_.AddRule("escape");
      rules_.Define(rule, escape);
      escape = rules_.Call(rule);
    }
    char_ = rules_.Choice({rules_.Set(Plain()), rules_.Sequence({rules_.Text("\\"), escape})});
  }
  return *char_;
}

ExprId JsonText::String() {
  if (!string_) {
    const RuleId rule = rules_.AddRule("string");
    string_ = rules_.Call(rule);
    rules_.Define(rule,
                  rules_.Sequence({rules_.Text("\""), rules_.Repeat(Char(), 0, Rules::kUnbounded),
                                   rules_.Text("\"")}));
  }
  return *string_;
}

ExprId JsonText::String(int32_t min, int32_t max) {
  if (min == 0 && max == Rules::kUnbounded) return String();
  return rules_.Sequence({rules_.Text("\""), rules_.Repeat(Char(), min, max), rules_.Text("\"")});
}

ExprId JsonText::OneOf(const std::vector<CodeRange>& ranges) {
  const std::vector<CodeRange> plain = Plain();
  std::vector<ExprId> choices = {rules_.Set(Intersection(ranges, plain))};
  for (const CodeRange& range : Intersection(ranges, Complement(plain))) {
    for (uint32_t c = range.first; c <= range.last; ++c) {
      choices.push_back(rules_.Text(EscapeOf(c)));
    }
  }
  return rules_.Choice(std::move(choices));
}

ExprId JsonText::Anything() {
  if (!anything_) anything_ = rules_.Repeat(Char(), 0, Rules::kUnbounded);
  return *anything_;
}

// Without NUL.
Graph JsonText::Written(Graph plain) {
  Graph graph{.edges = {}, .final = std::move(plain.final)};
  const auto state = [&] {
    graph.final.push_back(false);
    return static_cast<int32_t>(graph.final.size()) - 1;
  };
  std::map<std::pair<int32_t, uint32_t>, int32_t> known;  // of a character's escape: its begin
  const auto escaped = [&](uint32_t c, int32_t to) {
    const auto [found, is_new] = known.try_emplace({to, c}, 0);
    if (!is_new) return found->second;
    const std::string escape = EscapeOf(c).substr(1);
    for (size_t i = escape.size(); i-- > 0;) {
      const int32_t from = state();
      const auto byte = static_cast<uint8_t>(escape[i]);
      graph.edges.push_back({from, byte, byte, to});
      to = from;
    }
    return found->second = to;
  };
  for (const Graph::Edge& edge : plain.edges) {
    for (uint32_t c = std::max<uint32_t>(edge.first, 1); c <= edge.last && c <= '\\'; ++c) {
      if (c >= 0x20 && c != '"' && c != '\\') continue;
      graph.edges.push_back({edge.from, '\\', '\\', escaped(c, edge.to)});
    }
    for (const auto& [first, last] :
         {std::pair(0x20, '"' - 1), std::pair('"' + 1, '\\' - 1), std::pair('\\' + 1, 0xFF)}) {
      const int low = std::max<int>(edge.first, first), high = std::min<int>(edge.last, last);
      if (low > high) continue;
      graph.edges.push_back(
          {edge.from, static_cast<uint8_t>(low), static_cast<uint8_t>(high), edge.to});
    }
  }
  return Trimmed(graph);
}

// One graph, whose states go from those that agree with a name so far to those that agree with
// none: all of them read plain text whatever comes, which masks are quick about.
ExprId JsonText::KeyBesides(const std::vector<std::string>& names) {
  Graph graph;
  std::vector<int> places;                     // by state: within a character (characters.h)
  std::vector<std::map<uint8_t, int32_t>> on;  // by state: along the names
  const auto state = [&](int place, bool final) {
    graph.final.push_back(final);
    places.push_back(place);
    on.emplace_back();
    return static_cast<int32_t>(places.size()) - 1;
  };
  state(0, true);  // nothing so far
  std::array<int32_t, kUtf8Nexts.size()> other{};
  for (int place = 0; place < static_cast<int>(other.size()); ++place) {
    other[static_cast<size_t>(place)] = state(place, place == 0);
  }
  for (const std::string& name : names) {
    // What needs an escape is no danger: these keys have none.
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\';
    });
    if (!plain) continue;
    int32_t at = 0;
    for (const char c : name) {
      const auto byte = static_cast<uint8_t>(c);
      const auto found = on[static_cast<size_t>(at)].find(byte);
      if (found != on[static_cast<size_t>(at)].end()) {
        at = found->second;
        continue;
      }
      const int place = PlaceAfter(byte, places[static_cast<size_t>(at)]);
      const int32_t next = state(place, place == 0);
      on[static_cast<size_t>(at)][byte] = next;
      at = next;
    }
    graph.final[static_cast<size_t>(at)] = false;
  }
  for (int32_t from = 0; from < static_cast<int32_t>(places.size()); ++from) {
    for (const Utf8Edge& edge : PlainEdges(places[static_cast<size_t>(from)])) {
      AddBesides(edge, from, other[static_cast<size_t>(edge.to)], on[static_cast<size_t>(from)],
                 &graph);
    }
  }
  return rules_.Sequence({rules_.Text("\""), rules_.AddGraph(std::move(graph)), rules_.Text("\"")});
}

ExprId JsonText::Member(ExprId key, ExprId value) {
  return rules_.Sequence({key, Space(), rules_.Text(":"), Space(), value});
}

ExprId JsonText::Braces(char open, ExprId inside, char close) {
  return rules_.Sequence({rules_.Text(std::string(1, open)), Space(), inside, Space(),
                          rules_.Text(std::string(1, close))});
}

ExprId JsonText::Value() {
  if (!value_) {
    const RuleId rule = rules_.AddRule("value");
    value_ = rules_.Call(rule);
    const RuleId number = rules_.AddRule("number");
    rules_.Define(number, AddNumber({}, &rules_).value_or(0));
    rules_.Define(
        rule, rules_.Choice({Object(), Array(), String(), rules_.Call(number), rules_.Text("true"),
                             rules_.Text("false"), rules_.Text("null")}));
  }
  return *value_;
}

ExprId JsonText::Object() {
  if (!object_) {
    const RuleId rule = rules_.AddRule("object");
    object_ = rules_.Call(rule);
    const ExprId member = Member(String(), Value());
    const ExprId more = rules_.Repeat(rules_.Sequence({Comma(), member}), 0, Rules::kUnbounded);
    rules_.Define(rule, Braces('{', rules_.Optional(rules_.Sequence({member, more})), '}'));
  }
  return *object_;
}

ExprId JsonText::Array() {
  if (!array_) {
    const RuleId rule = rules_.AddRule("array");
    array_ = rules_.Call(rule);
    const ExprId more = rules_.Repeat(rules_.Sequence({Comma(), Value()}), 0, Rules::kUnbounded);
    rules_.Define(rule, Braces('[', rules_.Optional(rules_.Sequence({Value(), more})), ']'));
  }
  return *array_;
}

}  // namespace conclave::engine::grammar
