// Cuts text into the words that byte-level BPE works on. Each model family cuts by its own regular
// expressions; here they are hand-written matchers over categories, so that a cut takes linear time
// on any input and needs no regex engine. The expressions stand above their matchers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/scanned_text.h"

namespace conclave::engine {

// Cuts the scalars [begin, end), of which there is at least one, and appends the ends of the
// pieces.
using CutStage = void (*)(const ScannedText& text, size_t begin, size_t end,
                          std::vector<size_t>* ends);

// What one family does: expressions applied one after the other, each to the pieces the one before
// left.
struct CutFamily {
  std::string_view name;  // tokenizer.ggml.pre
  std::span<const CutStage> stages;
  std::span<const std::string_view> expressions;  // instead of stages, for regex.h
  bool adds_bos = false;        // models want BOS in front when their file does not say
  bool ignores_merges = false;  // a word that is a token of its own is taken whole
};

// By tokenizer.ggml.pre; "" is "default". UNIMPLEMENTED for names that are not in the tables.
absl::StatusOr<const CutFamily*> FindCutFamily(std::string_view name);

// The stage that cuts as this regular expression does (matches isolated), or nullptr: the
// expressions of the families above, as their tokenizer.json files write them.
CutStage FindCutStage(std::string_view expression);
// The expressions of stages FindCutStage knows, for tests to compare with regex.h.
std::vector<std::string_view> KnownCutExpressions();

}  // namespace conclave::engine
