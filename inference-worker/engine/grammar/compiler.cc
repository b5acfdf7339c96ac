// From rules to the automaton: subset construction over bytes and calls, rule by rule, all in one
// numbering. Calls of one rule from one state are merged like bytes are, so alternatives that begin
// with the same rule share a state.
#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/nfa.h"
#include "engine/grammar/rule_facts.h"

namespace conclave::engine::grammar {
namespace {

constexpr size_t kStatesMax = 65'536;
constexpr size_t kTableMax = 8u << 20;  // entries of Automaton::next
// States looked at and moved: what keeps a compilation within 250 ms.
constexpr int64_t kWorkMax = 12'000'000;

using NfaSet = std::vector<int32_t>;  // sorted

struct SetHash {
  size_t operator()(const NfaSet& set) const {
    uint64_t hash = set.size();
    for (const int32_t state : set) {
      hash = (hash ^ static_cast<uint64_t>(state)) * 0x9E3779B97F4A7C15;
      hash ^= hash >> 29;
    }
    return static_cast<size_t>(hash);
  }
};

class Compiler final {
 public:
  Compiler(const Rules& rules, const RuleFacts& facts, int64_t work_max)
      : rules_(rules),
        facts_(facts),
        work_max_(work_max),
        nfa_(rules, facts),
        marks_(nfa_.num_states()) {}

  absl::StatusOr<Automaton> Compile() {
    if (nfa_.full()) return TooLarge();
    MakeClasses();
    automaton_.states.resize(Automaton::kFirstState);
    automaton_.next.assign(Automaton::kFirstState * num_classes(), Automaton::kDead);
    entry_of_.assign(rules_.num_rules(), -1);
    root_ = NewEntry(rules_.root);
    while (!todo_.empty() && !exhausted_) {
      const auto [state, set] = std::move(todo_.back());
      todo_.pop_back();
      Expand(state, *set);
    }
    if (exhausted_) return TooLarge();
    return Finish();
  }

 private:
  static absl::Status TooLarge() {
    return base::InvalidArgument(absl::StrCat("too complex: it needs more than ", kStatesMax,
                                              " states or too long to compile"));
  }
  size_t num_classes() const { return static_cast<size_t>(automaton_.num_classes); }

  // Bytes between two neighbouring edge borders behave alike.
  void MakeClasses() {
    std::array<bool, 257> border{};
    for (const Nfa::ByteEdge& edge : nfa_.byte_edges()) {
      border[edge.first] = true;
      border[edge.last + 1] = true;
    }
    uint8_t current = 0;
    for (size_t byte = 0; byte < 256; ++byte) {
      if (byte > 0 && border[byte]) ++current;
      automaton_.class_of[byte] = current;
    }
    automaton_.num_classes = current + 1;
  }

  // The states that empty edges lead to, and the shortcut past rules that match the empty text;
  // only those kept that do something.
  NfaSet Closure(const NfaSet& from) {
    NfaSet kept;
    ++stamp_;
    visit_.clear();
    const auto reach = [&](int32_t id) {
      if (std::exchange(marks_[static_cast<size_t>(id)], stamp_) != stamp_) visit_.push_back(id);
    };
    for (const int32_t id : from) reach(id);
    while (!visit_.empty()) {
      const int32_t id = visit_.back();
      visit_.pop_back();
      ++work_;
      const Nfa::State& state = nfa_.state(id);
      if (state.bytes >= 0 || state.calls >= 0 || IsEnd(id)) kept.push_back(id);
      for (int32_t e = state.empties; e >= 0; e = nfa_.empty_edge(e).next) {
        reach(nfa_.empty_edge(e).to);
      }
      for (int32_t e = state.calls; e >= 0; e = nfa_.call_edge(e).next) {
        const ExprId body = rules_.body(nfa_.call_edge(e).rule);
        if (facts_.nullable[static_cast<size_t>(body)]) reach(nfa_.call_edge(e).to);
      }
    }
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  // Ends have no edges out of them, and nothing else has none.
  bool IsEnd(int32_t id) const {
    const Nfa::State& state = nfa_.state(id);
    return state.bytes < 0 && state.calls < 0 && state.empties < 0;
  }

  int32_t StateOf(const NfaSet& closed) {
    const auto [found, is_new] = known_.try_emplace(closed, -1);
    if (is_new) found->second = NewState(found->first, /*may_end=*/true);
    return found->second;
  }

  int32_t NewState(const NfaSet& closed, bool may_end) {
    if (automaton_.states.size() >= kStatesMax || automaton_.next.size() >= kTableMax) {
      exhausted_ = true;
      return Automaton::kDead;
    }
    const auto state = static_cast<int32_t>(automaton_.states.size());
    Automaton::State made;
    made.final =
        may_end && std::any_of(closed.begin(), closed.end(), [&](int32_t id) { return IsEnd(id); });
    automaton_.states.push_back(made);
    automaton_.next.resize(automaton_.next.size() + num_classes(), Automaton::kDead);
    todo_.emplace_back(state, &closed);
    return state;
  }

  // A state of its own, which does not end where the rule matches the empty text.
  int32_t NewEntry(RuleId rule) {
    entry_sets_.push_back(std::make_unique<NfaSet>(Closure({nfa_.begin(rule)})));
    entry_rules_.push_back(rule);
    const auto index = static_cast<int32_t>(entry_rules_.size() - 1);
    entry_of_[static_cast<size_t>(rule)] = index;
    automaton_.entries.push_back(NewState(*entry_sets_.back(), /*may_end=*/false));
    return index;
  }

  void Expand(int32_t state, const NfaSet& set) {
    ExpandBytes(state, set);
    ExpandCalls(state, set);
    work_ += static_cast<int64_t>(set.size());
    if (work_ > work_max_) exhausted_ = true;
  }

  void ExpandBytes(int32_t state, const NfaSet& set) {
    buckets_.resize(num_classes());
    for (NfaSet& bucket : buckets_) bucket.clear();
    for (const int32_t id : set) {
      for (int32_t e = nfa_.state(id).bytes; e >= 0; e = nfa_.byte_edge(e).next) {
        const Nfa::ByteEdge& edge = nfa_.byte_edge(e);
        const size_t last = automaton_.class_of[edge.last];
        for (size_t c = automaton_.class_of[edge.first]; c <= last; ++c) {
          buckets_[c].push_back(edge.to);
          ++work_;
        }
      }
    }
    std::map<NfaSet, int32_t> targets;  // of this state: most classes go the same way
    for (size_t c = 0; c < buckets_.size() && !exhausted_; ++c) {
      NfaSet& bucket = buckets_[c];
      if (bucket.empty()) continue;
      std::sort(bucket.begin(), bucket.end());
      bucket.erase(std::unique(bucket.begin(), bucket.end()), bucket.end());
      const auto [found, is_new] = targets.try_emplace(bucket, -1);
      if (is_new) found->second = StateOf(Closure(bucket));
      automaton_.next[static_cast<size_t>(state) * num_classes() + c] = found->second;
    }
  }

  void ExpandCalls(int32_t state, const NfaSet& set) {
    std::map<RuleId, NfaSet> targets;
    for (const int32_t id : set) {
      for (int32_t e = nfa_.state(id).calls; e >= 0; e = nfa_.call_edge(e).next) {
        const RuleId rule = nfa_.call_edge(e).rule;
        if (nfa_.begin(rule) >= 0) targets[rule].push_back(nfa_.call_edge(e).to);
      }
    }
    const auto begin = static_cast<int32_t>(automaton_.calls.size());
    for (const auto& [rule, to] : targets) {
      if (entry_of_[static_cast<size_t>(rule)] < 0) NewEntry(rule);
      const int32_t target = StateOf(Closure(to));
      automaton_.calls.push_back({entry_of_[static_cast<size_t>(rule)], target});
    }
    automaton_.states[static_cast<size_t>(state)].calls_begin = begin;
    automaton_.states[static_cast<size_t>(state)].calls_end =
        static_cast<int32_t>(automaton_.calls.size());
  }

  absl::StatusOr<Automaton> Finish() {
    for (int32_t i = 0; i < static_cast<int32_t>(automaton_.states.size()); ++i) {
      Automaton::State& state = automaton_.states[static_cast<size_t>(i)];
      const auto row = automaton_.next.begin() + static_cast<ptrdiff_t>(num_classes()) * i;
      state.only_final = state.final && state.calls_begin == state.calls_end &&
                         std::all_of(row, row + static_cast<ptrdiff_t>(num_classes()),
                                     [](int32_t next) { return next == Automaton::kDead; });
    }
    RETURN_IF_ERROR(OrderRules());
    automaton_.accepts_empty = facts_.nullable[static_cast<size_t>(rules_.body(rules_.root))];
    return std::move(automaton_);
  }

  // Numbers the rules so that one calls, before it has read anything, only later ones. There is no
  // such order exactly when a rule comes back to itself that way.
  absl::Status OrderRules() {
    enum class Mark : uint8_t { kNew, kOpen, kDone };
    const size_t count = automaton_.entries.size();
    std::vector<Mark> marks(count, Mark::kNew);
    std::vector<int32_t> reversed;
    std::vector<std::pair<int32_t, int32_t>> path;  // rule, next call to follow
    for (size_t first = 0; first < count; ++first) {
      if (marks[first] != Mark::kNew) continue;
      path.emplace_back(static_cast<int32_t>(first), 0);
      marks[first] = Mark::kOpen;
      while (!path.empty()) {
        auto& [rule, at] = path.back();
        const auto calls = automaton_.calls_of(automaton_.entries[static_cast<size_t>(rule)]);
        if (static_cast<size_t>(at) == calls.size()) {
          marks[static_cast<size_t>(rule)] = Mark::kDone;
          reversed.push_back(rule);
          path.pop_back();
          continue;
        }
        const int32_t called = calls[static_cast<size_t>(at++)].rule;
        Mark& mark = marks[static_cast<size_t>(called)];
        if (mark == Mark::kOpen) {
          return base::InvalidArgument(
              absl::StrCat("rule \"", rules_.name(entry_rules_[static_cast<size_t>(called)]),
                           "\" leads back to itself before it has read anything"));
        }
        if (mark == Mark::kNew) {
          mark = Mark::kOpen;
          path.emplace_back(called, 0);
        }
      }
    }
    Renumber(reversed);
    return absl::OkStatus();
  }

  void Renumber(const std::vector<int32_t>& reversed) {
    const size_t count = reversed.size();
    std::vector<int32_t> number(count), entries(count);
    for (size_t i = 0; i < count; ++i) {
      const auto old = static_cast<size_t>(reversed[count - 1 - i]);
      number[old] = static_cast<int32_t>(i);
      entries[i] = automaton_.entries[old];
    }
    automaton_.entries = std::move(entries);
    automaton_.root = number[static_cast<size_t>(root_)];
    for (Automaton::Call& call : automaton_.calls) {
      call.rule = number[static_cast<size_t>(call.rule)];
    }
  }

  const Rules& rules_;
  const RuleFacts& facts_;
  const int64_t work_max_;
  const Nfa nfa_;
  Automaton automaton_;
  std::unordered_map<NfaSet, int32_t, SetHash> known_;  // nodes stay where they are
  std::vector<std::pair<int32_t, const NfaSet*>> todo_;
  std::vector<std::unique_ptr<NfaSet>> entry_sets_;
  std::vector<RuleId> entry_rules_;  // by number
  std::vector<int32_t> entry_of_;    // by rule; -1 = not called yet
  int32_t root_ = 0;
  std::vector<uint32_t> marks_;
  uint32_t stamp_ = 0;
  NfaSet visit_;
  std::vector<NfaSet> buckets_;
  int64_t work_ = 0;
  bool exhausted_ = false;
};

}  // namespace

absl::StatusOr<Automaton> CompileRules(const Rules& rules) { return CompileRules(rules, kWorkMax); }

absl::StatusOr<Automaton> CompileRules(const Rules& rules, int64_t work_max) {
  ASSIGN_OR_RETURN(const RuleFacts facts, FactsOf(rules));
  return Compiler(rules, facts, work_max).Compile();
}

}  // namespace conclave::engine::grammar
