#include "engine/grammar/token_walk.h"

#include <algorithm>
#include <iterator>

namespace conclave::engine::grammar {
namespace {

// How many characters a run must have for its texts to be worth knowing.
constexpr int kManyCharacters = 16;

size_t Index(int32_t id) { return static_cast<size_t>(id); }

}  // namespace

void TokenWalk::Allow(int32_t node) {
  for (const TokenId token : trie_.tokens_at(node)) mask_.Allow(token);
}

void TokenWalk::AllowBelow(int32_t node) {
  for (const TokenId token : trie_.tokens_below(node)) mask_.Allow(token);
}

// Whether that says all about the tokens below.
bool TokenWalk::NoteEnd(int32_t node) {
  const TokenTrie::Content& content = trie_.content(node);
  if (beyond_ != nullptr && content.scalars <= kBeyond && content.characters.all_in(*beyond_)) {
    AllowBelow(node);
    return true;
  }
  if (GoesOnWith(node, *follow_)) ends_->push_back(node);
  return false;
}

// Whether a byte after `node` is of `set`.
bool TokenWalk::GoesOnWith(int32_t node, const Characters& set) const {
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const int32_t end = nodes[Index(node)].end;
  for (int32_t child = node + 1; child < end; child = nodes[Index(child)].end) {
    if (set.has(nodes[Index(child)].byte)) return true;
  }
  return false;
}

// Whether `state` reads all that is below, and nothing there has to be noted. `outermost`: in the
// very rule that Inside is about.
bool TokenWalk::ReadsAllBelow(int32_t node, int32_t state, bool outermost) const {
  const Run& run = runs_.of(state);
  const TokenTrie::Content& content = trie_.content(node);
  if (run.length == 0 || !content.between) return false;
  if (content.scalars == TokenTrie::Content::kNoText) return false;
  if (!content.characters.all_in(run.characters)) return false;
  if (ends_ == nullptr) return content.scalars <= run.length;
  if (content.scalars <= run.quiet) return true;
  if (content.scalars <= run.length && content.characters.none_in(runs_.follow_of(state))) {
    return true;
  }
  // One more than are quiet, and the rule may have ended.
  return outermost && beyond_ != nullptr && run.quiet < run.length &&
         content.scalars <= run.quiet + 1 + kBeyond && content.characters.all_in(*beyond_);
}

// Whether all is said about the tokens at and below a node, to which the state Inside is about
// reads nothing but characters of its run: what fits in was added, nothing else can be read, and no
// end of the rule need be noted.
bool TokenWalk::DoneBelow(int32_t node) const {
  const TokenTrie::Content& content = trie_.content(node);
  if (content.scalars == TokenTrie::Content::kNoText) return false;
  if (!content.characters.all_in(run_->characters)) return false;
  const bool added = trie_.nodes()[Index(node)].depth + content.scalars <= added_;
  if (added && beyond_run_) return true;
  if (!added && !run_->strict) return false;
  return run_->quiet == run_->length || content.characters.none_in(*follow_);
}

// The texts of the run of `state`, all at once.
TokenWalk::Texts TokenWalk::TextsOf(int32_t state) {
  const Run& run = runs_.of(state);
  if (run.length == 0 || run.characters.num_ascii() < kManyCharacters) return {};
  Texts texts{.tokens = trie_.TokensOf(run.characters)};
  run_ = &run;
  beyond_run_ = beyond_ != nullptr && run.quiet < run.length && run.characters.all_in(*beyond_);
  added_ = std::max<int>(run.length, beyond_run_ ? run.quiet + 1 + kBeyond : 0);
  added_ = std::min<int>(added_, Run::kLengthMax);
  texts.scalars_max = static_cast<uint8_t>(added_);
  return texts;
}

TokenWalk::Texts TokenWalk::Inside(int32_t state, const Characters* beyond,
                                   std::vector<int32_t>* ends) {
  ends_ = ends;
  beyond_ = beyond;
  follow_ = &runs_.follow_of(state);
  Texts texts = TextsOf(state);
  // Its calls are items of their own beside it; here it is alone.
  One(0, Stacks::Inside(state));
  run_ = nullptr;
  ends_ = nullptr;
  return texts;
}

// After the bytes down to `node` the items are `items`, not empty.
void TokenWalk::Reach(int32_t node, Items& items) {
  Allow(node);
  if (!trie_.has_children(node)) return;
  const size_t before = items.size();
  std::erase_if(items, [](const Item& item) { return item.state == Automaton::kOutside; });
  if (items.size() != before && NoteEnd(node)) return;
  Below(node, items);
}

void TokenWalk::Below(int32_t node, const Items& all) {
  // Most of several read none of the bytes that come: where a word may end, say, within one.
  Items items;
  std::copy_if(all.begin(), all.end(), std::back_inserter(items),
               [&](const Item& item) { return ReadsOneBelow(node, item.state); });
  if (ends_ == nullptr || items.size() == 1) {
    for (const Item& item : items) {
      if (ReadsAllBelow(node, item.state, /*outermost=*/false)) return AllowBelow(node);
    }
  }
  if (items.size() == 1) return One(node, items[0]);
  if (items.empty()) return;
  Items next;
  const int32_t end = trie_.nodes()[Index(node)].end;
  for (int32_t child = node + 1; child < end; child = trie_.nodes()[Index(child)].end) {
    ++num_nodes_;
    stacks_.Step(items, trie_.nodes()[Index(child)].byte, &next);
    if (!next.empty()) Reach(child, next);
  }
}

bool TokenWalk::ReadsOneBelow(int32_t node, int32_t state) const {
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const int32_t end = nodes[Index(node)].end;
  for (int32_t child = node + 1; child < end; child = nodes[Index(child)].end) {
    if (automaton_.Next(state, nodes[Index(child)].byte) != Automaton::kDead) return true;
  }
  return false;
}

// The same for one item, as long as it neither calls nor returns: a plain automaton.
void TokenWalk::One(int32_t node, const Item& item) {
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const size_t base = nodes[Index(node)].depth;
  const bool outermost = ends_ != nullptr && item.node == Stacks::Inside(item.state).node;
  std::vector<int32_t> path(static_cast<size_t>(trie_.depth_max()) + 1 - base);
  path[0] = item.state;
  // So many bytes of the path are characters of the run.
  const bool runs = outermost && run_ != nullptr && node == 0;
  size_t in_run = 0;
  const int32_t end = nodes[Index(node)].end;
  Items from(1), next;
  for (int32_t at = node + 1; at < end;) {
    ++num_nodes_;
    const TokenTrie::Node& here = nodes[Index(at)];
    const size_t depth = here.depth - base;
    if (runs && in_run >= depth - 1) {
      in_run = run_->characters.has(here.byte) ? depth : depth - 1;
      if (in_run == depth && DoneBelow(at)) {
        at = here.end;
        continue;
      }
    }
    const int32_t state = automaton_.Next(path[depth - 1], here.byte);
    if (state == Automaton::kDead) {
      at = here.end;
      continue;
    }
    const Automaton::State& about = automaton_.states[Index(state)];
    // Returns that lead to nothing but the end of a token need no stack.
    const bool returns = about.final && !outermost && GoesOnWith(at, runs_.follow_of(state));
    if (returns || about.calls_begin != about.calls_end) {
      from[0] = {.state = path[depth - 1], .node = item.node};
      stacks_.Step(from, here.byte, &next);
      if (!next.empty()) Reach(at, next);
      at = here.end;
      continue;
    }
    Allow(at);
    if (here.end == at + 1) {
      ++at;
    } else if ((about.final && outermost && NoteEnd(at)) || about.only_final) {
      at = here.end;
    } else if (ReadsAllBelow(at, state, outermost)) {
      AllowBelow(at);
      at = here.end;
    } else {
      path[depth] = state;
      ++at;
    }
  }
}

}  // namespace conclave::engine::grammar
