#include "engine/tokenizer/special_tokens.h"

namespace conclave::engine {
namespace {

uint64_t EdgeKey(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
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

void SpecialTokens::Add(std::string_view text, TokenId id, bool guarded) {
  if (text.empty()) return;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [edge, added] =
        children_.try_emplace(EdgeKey(node, byte), static_cast<uint32_t>(nodes_.size()));
    if (added) nodes_.emplace_back();
    node = edge->second;
  }
  if (nodes_[node].id < 0) nodes_[node] = {.id = id, .guarded = guarded};
  first_bytes_[static_cast<unsigned char>(text.front())] = true;
}

SpecialTokens::Match SpecialTokens::LongestAt(std::string_view text, size_t at,
                                              size_t trusted_end) const {
  Match best;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = children_.find(EdgeKey(node, text[i]));
    if (edge == children_.end()) break;
    node = edge->second;
    const Node& here = nodes_[node];
    if (here.id >= 0 && (!here.guarded || i + 1 <= trusted_end)) best = {i + 1, here.id};
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
    const Match match = LongestAt(text, at, trusted_end);
    if (match.id < 0) {
      ++at;
      continue;
    }
    if (piece < at) pieces.push_back({piece, at, -1});
    pieces.push_back({at, match.end, match.id});
    piece = at = match.end;
  }
  if (piece < text.size()) pieces.push_back({piece, text.size(), -1});
  return pieces;
}

}  // namespace conclave::engine
