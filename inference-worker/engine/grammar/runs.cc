#include "engine/grammar/runs.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

namespace conclave::engine::grammar {
namespace {

size_t Index(int32_t id) { return static_cast<size_t>(id); }

// By class of bytes.
std::vector<Characters> CharactersOf(const Automaton& automaton) {
  std::vector<Characters> members(Index(automaton.num_classes));
  for (int byte = 0; byte < 256; ++byte) {
    Characters& set = members[automaton.class_of[static_cast<size_t>(byte)]];
    if (byte < 0x80) {
      set.AddAscii(static_cast<uint8_t>(byte));
    } else {
      set.others = true;
    }
  }
  return members;
}

class RunFinder final {
 public:
  RunFinder(const Automaton& automaton, RunTable* table)
      : automaton_(automaton), table_(*table), members_(CharactersOf(automaton)) {
    ascii_classes_ = automaton.class_of[0x7F] + 1;
    for (const Characters& set : members_) {
      sizes_.push_back(set.num_ascii());
    }
  }

  void FindAll() {
    const size_t count = automaton_.states.size();
    table_.runs.resize(count);
    targets_.assign(count, Automaton::kDead);
    for (int32_t state = Automaton::kFirstState; state < static_cast<int32_t>(count); ++state) {
      FindCharacters(state);
    }
    std::vector<Mark> marks(count, Mark::kNew);
    std::vector<int32_t> path;
    for (int32_t state = Automaton::kFirstState; state < static_cast<int32_t>(count); ++state) {
      FindLengths(state, &marks, &path);
    }
  }

 private:
  enum class Mark : uint8_t { kNew, kOpen, kDone };

  // The state most ASCII characters lead to, and which they are.
  void FindCharacters(int32_t state) {
    const auto row =
        std::span(automaton_.next).subspan(Index(state) * members_.size(), Index(ascii_classes_));
    counts_.clear();
    for (size_t c = 0; c < row.size(); ++c) {
      if (row[c] == Automaton::kDead) continue;
      const auto found = std::find_if(counts_.begin(), counts_.end(),
                                      [&](const auto& count) { return count.first == row[c]; });
      if (found != counts_.end()) {
        found->second += sizes_[c];
      } else {
        counts_.emplace_back(row[c], sizes_[c]);
      }
    }
    if (counts_.empty()) return;
    const int32_t target = std::max_element(counts_.begin(), counts_.end(), [](auto& a, auto& b) {
                             return a.second < b.second;
                           })->first;
    if (automaton_.has_calls(target)) return;
    targets_[Index(state)] = target;
    Run& run = table_.runs[Index(state)];
    for (size_t c = 0; c < row.size(); ++c) {
      if (row[c] == target) run.characters.AddAll(members_[c]);
    }
    run.characters.others =
        std::all_of(kUtf8Starts.begin(), kUtf8Starts.end(),
                    [&](const Utf8Edge& edge) { return AllLead(state, edge, target); });
  }

  // Whether the bytes of `edge`, and what must come after them, lead to `target`.
  bool AllLead(int32_t state, const Utf8Edge& edge, int32_t target) const {
    int32_t before = Automaton::kDead;  // most bytes go the same way
    for (size_t c = automaton_.class_of[edge.first]; c <= automaton_.class_of[edge.last]; ++c) {
      const int32_t next = automaton_.next[Index(state) * members_.size() + c];
      if (next == Automaton::kDead) return false;
      if (edge.to == 0) {
        if (next != target) return false;
        continue;
      }
      if (next == before) continue;
      before = next;
      if (!Quiet(next) || automaton_.has_calls(next)) return false;
      if (!AllLead(next, kUtf8Nexts[Index(edge.to)], target)) return false;
    }
    return true;
  }

  // All that a state without calls reads.
  Characters AllOf(int32_t state) const {
    Characters all;
    for (size_t c = 0; c < members_.size(); ++c) {
      if (automaton_.next[Index(state) * members_.size() + c] != Automaton::kDead) {
        all.AddAll(members_[c]);
      }
    }
    return all;
  }

  // A final state is as good as any other where nothing can follow its rule.
  bool Quiet(int32_t state) const {
    return !automaton_.states[Index(state)].final || table_.follow_of(state).empty();
  }

  static uint8_t Longer(uint8_t length) {
    return static_cast<uint8_t>(std::min<int>(length + 1, Run::kLengthMax));
  }

  // Along the targets to what is known, and back.
  void FindLengths(int32_t state, std::vector<Mark>* marks, std::vector<int32_t>* path) {
    path->clear();
    while (state != Automaton::kDead && (*marks)[Index(state)] == Mark::kNew) {
      (*marks)[Index(state)] = Mark::kOpen;
      path->push_back(state);
      state = targets_[Index(state)];
    }
    // Around in a circle: without an end, if the characters stay the same all the way.
    if (state != Automaton::kDead && (*marks)[Index(state)] == Mark::kOpen) CloseCircle(state);
    for (; !path->empty(); path->pop_back()) {
      const int32_t at = path->back();
      if ((*marks)[Index(at)] == Mark::kOpen) Extend(at);
      (*marks)[Index(at)] = Mark::kDone;
    }
  }

  void CloseCircle(int32_t begin) {
    std::vector<int32_t> circle = {begin};
    for (int32_t at = targets_[Index(begin)]; at != begin; at = targets_[Index(at)]) {
      if (table_.of(at).characters != table_.of(begin).characters) return;
      circle.push_back(at);
    }
    for (const int32_t at : circle) {
      table_.runs[Index(at)].length = table_.runs[Index(at)].quiet = Run::kLengthMax;
    }
    // Twice around, against its direction: the first time tells the last where a final one is.
    for (size_t i = 2 * circle.size(); i-- > 0;) {
      const int32_t at = circle[i % circle.size()], target = targets_[Index(at)];
      table_.runs[Index(at)].quiet = Quiet(target) ? Longer(table_.of(target).quiet) : uint8_t{0};
    }
  }

  void Extend(int32_t state) {
    const int32_t target = targets_[Index(state)];
    Run& run = table_.runs[Index(state)];
    if (target == Automaton::kDead || run.length != 0) return;
    const Run& rest = table_.of(target);
    const bool goes_on = run.characters.all_in(rest.characters);
    run.length = goes_on ? Longer(rest.length) : uint8_t{1};
    run.strict = run.length < Run::kLengthMax &&
                 (goes_on ? rest.strict : run.characters.none_in(AllOf(target)));
    run.quiet = !Quiet(target) ? uint8_t{0} : goes_on ? Longer(rest.quiet) : uint8_t{1};
  }

  const Automaton& automaton_;
  RunTable& table_;
  std::vector<Characters> members_;  // by class: its ASCII characters
  std::vector<int> sizes_;
  int ascii_classes_ = 0;
  std::vector<int32_t> targets_;
  std::vector<std::pair<int32_t, int>> counts_;
};

std::vector<int32_t> RulesOf(const Automaton& automaton) {
  std::vector<int32_t> rule_of(automaton.states.size(), automaton.root);
  std::vector<bool> seen(automaton.states.size());
  for (size_t rule = 0; rule < automaton.entries.size(); ++rule) {
    std::vector<int32_t> todo = {automaton.entries[rule]};
    const auto reach = [&](int32_t state) {
      if (state < Automaton::kFirstState || seen[Index(state)]) return;
      seen[Index(state)] = true;
      rule_of[Index(state)] = static_cast<int32_t>(rule);
      todo.push_back(state);
    };
    seen[Index(automaton.entries[rule])] = true;
    rule_of[Index(automaton.entries[rule])] = static_cast<int32_t>(rule);
    while (!todo.empty()) {
      const int32_t state = todo.back();
      todo.pop_back();
      const auto row =
          automaton.next.begin() + static_cast<ptrdiff_t>(automaton.num_classes) * state;
      std::for_each(row, row + automaton.num_classes, reach);
      for (const Automaton::Call& call : automaton.calls_of(state)) reach(call.target);
    }
  }
  return rule_of;
}

// By rule, the least solution of: what a caller reads where it goes on, or what follows the caller
// if it may end there.
std::vector<Characters> FollowsOf(const Automaton& automaton, const std::vector<int32_t>& rule_of) {
  const std::vector<Characters> members = CharactersOf(automaton);
  const size_t num_rules = automaton.entries.size();
  std::vector<Characters> first(num_rules);
  const auto add_first = [&](int32_t state, Characters* set) {
    const auto row = std::span(automaton.next).subspan(Index(state) * members.size());
    for (size_t c = 0; c < members.size(); ++c) {
      if (row[c] != Automaton::kDead) set->AddAll(members[c]);
    }
    for (const Automaton::Call& call : automaton.calls_of(state)) {
      set->AddAll(first[Index(call.rule)]);
    }
  };
  // A rule calls before reading only rules of a larger number.
  for (size_t rule = num_rules; rule-- > 0;) add_first(automaton.entries[rule], &first[rule]);
  std::vector<Characters> follow(num_rules);
  std::vector<std::vector<int32_t>> passes(num_rules);  // what follows it follows these, too
  for (int32_t state = Automaton::kFirstState;
       state < static_cast<int32_t>(automaton.states.size()); ++state) {
    for (const Automaton::Call& call : automaton.calls_of(state)) {
      add_first(call.target, &follow[Index(call.rule)]);
      if (automaton.states[Index(call.target)].final) {
        passes[Index(rule_of[Index(state)])].push_back(call.rule);
      }
    }
  }
  std::vector<int32_t> todo;
  for (size_t rule = 0; rule < num_rules; ++rule) {
    std::sort(passes[rule].begin(), passes[rule].end());
    passes[rule].erase(std::unique(passes[rule].begin(), passes[rule].end()), passes[rule].end());
    todo.push_back(static_cast<int32_t>(rule));
  }
  while (!todo.empty()) {
    const int32_t rule = todo.back();
    todo.pop_back();
    for (const int32_t called : passes[Index(rule)]) {
      if (follow[Index(rule)].all_in(follow[Index(called)])) continue;
      follow[Index(called)].AddAll(follow[Index(rule)]);
      todo.push_back(called);
    }
  }
  return follow;
}

}  // namespace

RunTable::RunTable(const Automaton& automaton)
    : rule_of(RulesOf(automaton)), follow(FollowsOf(automaton, rule_of)) {
  RunFinder(automaton, this).FindAll();
}

}  // namespace conclave::engine::grammar
