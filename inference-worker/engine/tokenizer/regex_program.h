// What a regular expression is compiled to: instructions for the matcher in regex.cc.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/unicode_data.h"

namespace conclave::engine::regex {

// A set of scalars: the union of its parts, then the intersections, then negation.
struct CharSet {
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  uint32_t categories = 0;               // bit per Category
  bool (*property)(uint32_t) = nullptr;  // one of unicode.h
  std::vector<const unicode_data::Script*> scripts;
  std::vector<CharSet> parts;         // nested classes, negated properties
  std::vector<CharSet> intersection;  // each must hold as well
  bool negated = false;
  bool any_case = false;

  bool Contains(uint32_t scalar, Category category) const;

 private:
  bool ContainsExactly(uint32_t scalar, Category category) const;
};

// Where a scalar folds to when case does not count; one scalar always.
uint32_t FoldCase(uint32_t scalar);

enum class Op : uint8_t {
  kMatch,       // the program, or the sub-program of a look or an atomic group, has matched
  kScalar,      // a = the scalar
  kFolded,      // a = the folded scalar
  kSet,         // a = index in Program::sets
  kSplit,       // on to a, else to b; c = the row of its memory
  kJump,        // on to a
  kLineBegin,   // ^
  kLineEnd,     // $
  kTextBegin,   // \A
  kTextEnd,     // \z
  kBeforeEnd,   // \Z
  kWordEdge,    // \b
  kNoWordEdge,  // \B
  kAhead,       // what follows up to kMatch must match here (b: must not); goes on at a
  kBehind,      // the same, beginning c scalars before
  kAtomic,      // what follows up to kMatch, its first match only; goes on at a
};

struct Instruction {
  Op op;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
};

struct Program {
  std::vector<Instruction> code;
  std::vector<CharSet> sets;
  uint32_t num_splits = 0;
  // Some loop may go round without consuming anything. What failed in such a loop may have failed
  // for want of another way round, so memory of failures does not outlive a match.
  bool has_empty_loop = false;
};

absl::StatusOr<Program> CompileProgram(std::string_view pattern);

}  // namespace conclave::engine::regex
