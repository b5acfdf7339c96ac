#include "engine/tokenizer/charsmap.h"

#include <cstring>

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

constexpr size_t kBlobBytesMax = 64u << 20;

// A unit of Darts-clone: a leaf flag, a value or a label with the distance to the children.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & (1u << 9)) >> 6); }

// --- clusters -----------------------------------------------------------------------------------

bool IsIn(uint32_t s, std::initializer_list<std::pair<uint32_t, uint32_t>> ranges) {
  for (const auto& [first, last] : ranges) {
    if (s >= first && s <= last) return true;
  }
  return false;
}

// Extend, SpacingMark and ZWJ: what goes on with the cluster before it.
bool Extends(uint32_t s) {
  const Category c = CategoryOf(s);
  if (c == Category::kMc) {
    // Spacing marks that are none by the property.
    return !IsIn(s, {{0x102B, 0x102C},
                     {0x1038, 0x1038},
                     {0x1062, 0x1064},
                     {0x1067, 0x106D},
                     {0x1083, 0x1083},
                     {0x1087, 0x108C},
                     {0x108F, 0x108F},
                     {0x109A, 0x109C},
                     {0x1A61, 0x1A61},
                     {0x1A63, 0x1A64},
                     {0xAA7B, 0xAA7B},
                     {0xAA7D, 0xAA7D},
                     {0x11720, 0x11721}});
  }
  return c == Category::kMn || c == Category::kMe ||
         IsIn(s, {{0xE33, 0xE33},
                  {0xEB3, 0xEB3},
                  {0x200C, 0x200D},
                  {0xFF9E, 0xFF9F},
                  {0x1F3FB, 0x1F3FF},
                  {0xE0020, 0xE007F},
                  // marks of Unicode 17
                  {0x1ACF, 0x1ADD},
                  {0x1AE0, 0x1AEB},
                  {0x10EFA, 0x10EFB},
                  {0x11B60, 0x11B67},
                  {0x1E6E3, 0x1E6E3},
                  {0x1E6E6, 0x1E6E6},
                  {0x1E6EE, 0x1E6EF},
                  {0x1E6F5, 0x1E6F5}});
}

// Prepend: what takes the next scalar into its cluster.
bool Precedes(uint32_t s) {
  return IsIn(s, {{0x600, 0x605},
                  {0x6DD, 0x6DD},
                  {0x70F, 0x70F},
                  {0x890, 0x891},
                  {0x8E2, 0x8E2},
                  {0xD4E, 0xD4E},
                  {0x110BD, 0x110BD},
                  {0x110CD, 0x110CD},
                  {0x111C2, 0x111C3},
                  {0x113D1, 0x113D1},
                  {0x1193F, 0x1193F},
                  {0x11941, 0x11941},
                  {0x11A3A, 0x11A3A},
                  {0x11A84, 0x11A89},
                  {0x11D46, 0x11D46},
                  {0x11F02, 0x11F02}});
}

bool IsControl(uint32_t s) {
  const Category c = CategoryOf(s);
  const bool control =
      c == Category::kCc || c == Category::kCf || c == Category::kZl || c == Category::kZp ||
      s == kInvalidScalar ||
      // not assigned, but to be ignored once it is
      (c == Category::kCn && IsIn(s, {{0x2065, 0x2065}, {0xFFF0, 0xFFF8}, {0xE0000, 0xE0FFF}}));
  return control && !Extends(s) && !Precedes(s);
}

// Whether the cluster goes on from `left` to `right`. Only the rules that can make a cluster of
// less than six bytes are here: syllables of Hangul, flags and emoji joined by ZWJ are longer.
bool Together(uint32_t left, uint32_t right) {
  if (left == '\r' && right == '\n') return true;
  if (IsControl(left) || IsControl(right)) return false;
  return Extends(right) || Precedes(left);
}

}  // namespace

absl::StatusOr<CharsMap> CharsMap::Parse(std::string_view blob) {
  CharsMap map;
  if (blob.empty()) return map;
  uint32_t trie_bytes = 0;
  if (blob.size() < 4 || blob.size() > kBlobBytesMax) {
    return base::InvalidArgument("character map: expected 4 bytes to 64 MiB");
  }
  std::memcpy(&trie_bytes, blob.data(), 4);
  if (trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4) {
    return base::InvalidArgument("character map: a trie of " + std::to_string(trie_bytes) +
                                 " bytes, of " + std::to_string(blob.size() - 4));
  }
  map.units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map.units_.data(), blob.data() + 4, trie_bytes);
  map.texts_ = blob.substr(4 + trie_bytes);
  if (!map.texts_.empty() && map.texts_.back() != '\0') map.texts_.push_back('\0');
  return map;
}

CharsMap::Replacement CharsMap::Find(std::string_view text, bool longest) const {
  Replacement found;
  if (units_.empty()) return found;
  uint32_t at = Offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units_.size() || Label(units_[at]) != byte) break;
    const uint32_t unit = units_[at];
    at ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (at >= units_.size()) break;
    const size_t begin = Value(units_[at]);
    if (begin >= texts_.size()) break;
    found = {i + 1, std::string_view(texts_.c_str() + begin)};
    if (!longest) break;
  }
  return found;
}

std::string CharsMap::ReplaceClusters(std::string_view text) const {
  constexpr size_t kClusterBytes = 6;
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    DecodedScalar scalar = DecodeUtf8(text, at);
    size_t end = at + scalar.length;
    while (end < text.size()) {
      const DecodedScalar next = DecodeUtf8(text, end);
      if (!Together(scalar.value, next.value)) break;
      end += next.length;
      scalar = next;
    }
    const std::string_view cluster = text.substr(at, end - at);
    at = end;
    if (cluster.size() < kClusterBytes) {
      if (const Replacement whole = Shortest(cluster); whole.length > 0) {
        out.append(whole.text);
        continue;
      }
    }
    for (size_t i = 0; i < cluster.size();) {
      const std::string_view part = cluster.substr(i, DecodeUtf8(cluster, i).length);
      const Replacement replacement = Shortest(part);
      out.append(replacement.length > 0 ? replacement.text : part);
      i += part.size();
    }
  }
  return out;
}

}  // namespace conclave::engine
