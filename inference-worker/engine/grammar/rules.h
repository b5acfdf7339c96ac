// Rules over Unicode text, as the front ends write them and the compiler reads them. Expressions
// form a graph in one arena; an expression may be part of several others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine::grammar {

using ExprId = int32_t;
using RuleId = int32_t;

// Scalars [first, last].
struct CodeRange {
  uint32_t first = 0;
  uint32_t last = 0;
};

// Sorted, disjoint, without surrogates.
std::vector<CodeRange> Normalised(std::vector<CodeRange> ranges);
std::vector<CodeRange> Complement(const std::vector<CodeRange>& ranges);
std::vector<CodeRange> Intersection(const std::vector<CodeRange>& a,
                                    const std::vector<CodeRange>& b);

struct Expr {
  enum class Kind : uint8_t {
    kText,      // text, as UTF-8; may be empty
    kSet,       // one scalar of ranges; none when there are no ranges
    kSequence,  // parts
    kChoice,    // one of parts; none when there are no parts
    kRepeat,    // parts[0], min to max times
    kCall,      // rule
    kList,      // parts[0] between those of parts[1…] that are there; optional[i] for parts[i]
    kGraph,     // a path of graph() from its state 0 to a final one
  };
  Kind kind = Kind::kText;
  std::string text;
  std::vector<CodeRange> ranges;
  std::vector<ExprId> parts;
  std::vector<bool> optional;
  int32_t min = 0;
  int32_t max = 0;  // kUnbounded
  RuleId rule = -1;
  int32_t graph = -1;
};

// An automaton over bytes, for what no other kind of expression says in few states. Every state
// leads to a final one.
struct Graph {
  struct Edge {
    int32_t from = 0;
    uint8_t first = 0;
    uint8_t last = 0;
    int32_t to = 0;
  };
  std::vector<Edge> edges;
  std::vector<bool> final;  // by state
};

// Without the states from which no final one can be reached; without any when none can.
Graph Trimmed(const Graph& graph);

// Building never fails in the middle: what goes over a limit is remembered, adds nothing more, and
// status() says so. Loops of front ends that can grow ask full().
class Rules final {
 public:
  static constexpr int32_t kUnbounded = -1;
  static constexpr int32_t kCountMax = 1'000'000;
  static constexpr size_t kRulesMax = 4'096;
  static constexpr size_t kExprsMax = 200'000;
  static constexpr size_t kTextBytesMax = 4u << 20;
  // In front of the text of a control token, which is no text that anybody could write: no byte of
  // UTF-8 is 0xFF.
  static constexpr char kControl = '\xFF';

  ExprId Text(std::string_view text);
  ExprId Set(std::vector<CodeRange> ranges);
  ExprId Sequence(std::vector<ExprId> parts);
  ExprId Choice(std::vector<ExprId> parts);
  // Large counts become rules that call each other, so that their size grows with the logarithm.
  // Precondition: 0 <= min <= max <= kCountMax, or max is kUnbounded.
  ExprId Repeat(ExprId part, int32_t min, int32_t max);
  ExprId Optional(ExprId part) { return Repeat(part, 0, 1); }
  ExprId Call(RuleId rule);
  struct ListItem {
    ExprId expr = 0;
    bool optional = false;
  };
  // The items that are there, in order, with `separator` between them.
  ExprId List(ExprId separator, const std::vector<ListItem>& items);

  // One without states accepts nothing.
  ExprId AddGraph(Graph graph);
  // Any bytes up to the first `marker`, and the marker. Precondition: it is not empty.
  ExprId Until(std::string_view marker);
  // Any bytes without `marker`.
  ExprId Without(std::string_view marker);

  // All of the other rules; the expression is a call of their root.
  ExprId Import(const Rules& other);

  RuleId AddRule(std::string name);
  void Define(RuleId rule, ExprId body);
  RuleId root = 0;

  bool full() const { return full_; }
  // For what would be too large to be written down.
  void Overfill() { full_ = true; }
  absl::Status status() const;

  const Graph& graph(const Expr& expr) const { return graphs_[static_cast<size_t>(expr.graph)]; }
  const Expr& expr(ExprId id) const { return exprs_[static_cast<size_t>(id)]; }
  size_t num_exprs() const { return exprs_.size(); }
  size_t num_rules() const { return bodies_.size(); }
  ExprId body(RuleId rule) const { return bodies_[static_cast<size_t>(rule)]; }  // -1: not defined
  const std::string& name(RuleId rule) const { return names_[static_cast<size_t>(rule)]; }

 private:
  ExprId Add(Expr expr);
  ExprId Exactly(ExprId part, int32_t count);
  ExprId UpTo(ExprId part, int32_t count);
  ExprId Block(ExprId part);
  int32_t BlockSizeOf(ExprId part) const;

  std::vector<Expr> exprs_;
  std::vector<Graph> graphs_;
  std::vector<std::string> names_;
  std::vector<ExprId> bodies_;
  std::vector<std::pair<ExprId, ExprId>> blocks_;  // part → call of its block
  size_t text_bytes_ = 0;
  bool full_ = false;
};

}  // namespace conclave::engine::grammar
