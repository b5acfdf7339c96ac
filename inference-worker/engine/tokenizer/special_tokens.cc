#include "engine/tokenizer/special_tokens.h"

#include <algorithm>

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

uint64_t EdgeKey(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
}

// Where the scalar that ends at `end` begins. Precondition: floor < end.
size_t ScalarBefore(std::string_view text, size_t floor, size_t end) {
  for (size_t back = 1; back <= 4 && end - floor >= back; ++back) {
    const DecodedScalar scalar = DecodeUtf8(text, end - back);
    if (scalar.value != kInvalidScalar && scalar.length == back) return end - back;
  }
  return end - 1;
}

bool TouchesWord(std::string_view text, size_t begin, size_t end) {
  const bool before =
      begin > 0 && IsAddedTokenWord(DecodeUtf8(text, ScalarBefore(text, 0, begin)).value);
  return before || (end < text.size() && IsAddedTokenWord(DecodeUtf8(text, end).value));
}

// The run of spaces that ends at `end`, not before `floor`; and the one that begins at `begin`.
size_t SpacesBegin(std::string_view text, size_t floor, size_t end) {
  while (end > floor) {
    const size_t before = ScalarBefore(text, floor, end);
    if (!IsWhiteSpace(DecodeUtf8(text, before).value)) break;
    end = before;
  }
  return end;
}
size_t SpacesEnd(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const DecodedScalar scalar = DecodeUtf8(text, begin);
    if (!IsWhiteSpace(scalar.value)) break;
    begin += scalar.length;
  }
  return begin;
}

// Neighbours that touch become one, so that a token across their seam is found.
std::vector<TextRange> Joined(std::span<const TextRange> ranges) {
  std::vector<TextRange> joined;
  for (const TextRange& range : ranges) {
    if (!joined.empty() && joined.back().end >= range.begin) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

}  // namespace

void SpecialTokens::Add(std::string_view text, const SpecialToken& token) {
  if (text.empty()) return;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [edge, added] =
        children_.try_emplace(EdgeKey(node, byte), static_cast<uint32_t>(nodes_.size()));
    if (added) nodes_.emplace_back();
    node = edge->second;
  }
  if (nodes_[node].id < 0) nodes_[node] = token;
  first_bytes_[static_cast<unsigned char>(text.front())] = true;
}

SpecialTokens::Match SpecialTokens::LongestAt(std::string_view text, size_t at,
                                              size_t trusted_end) const {
  Match best{.begin = at};
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = children_.find(EdgeKey(node, text[i]));
    if (edge == children_.end()) break;
    node = edge->second;
    const SpecialToken& here = nodes_[node];
    if (here.id >= 0 && (!here.guarded || i + 1 <= trusted_end)) {
      best.end = i + 1;
      best.token = &here;
    }
  }
  return best;
}

std::vector<TextPiece> SpecialTokens::Cut(std::string_view text,
                                          std::span<const TextRange> trusted) const {
  const std::vector<TextRange> ranges = Joined(trusted);
  auto range = ranges.begin();
  std::vector<TextPiece> pieces;
  size_t piece = 0;
  for (size_t at = 0; at < text.size();) {
    if (!first_bytes_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    while (range != ranges.end() && range->end <= at) ++range;
    const size_t trusted_end = range != ranges.end() && range->begin <= at ? range->end : 0;
    Match match = LongestAt(text, at, trusted_end);
    if (match.token == nullptr) {
      ++at;
      continue;
    }
    const SpecialToken& token = *match.token;
    if (token.single_word && TouchesWord(text, match.begin, match.end)) {
      at = match.end;
      continue;
    }
    if (token.lstrip) match.begin = SpacesBegin(text, piece, match.begin);
    if (token.rstrip) match.end = SpacesEnd(text, match.end);
    if (piece < match.begin) pieces.push_back({piece, match.begin, -1});
    pieces.push_back({match.begin, match.end, token.id});
    piece = at = match.end;
  }
  if (piece < text.size()) pieces.push_back({piece, text.size(), -1});
  return pieces;
}

}  // namespace conclave::engine
