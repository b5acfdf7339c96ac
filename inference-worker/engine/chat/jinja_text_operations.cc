#include "engine/chat/jinja_text_operations.h"

#include <algorithm>
#include <utility>

#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

// Byte ranges of the pieces, in order.
using Ranges = std::vector<TextRange>;

Ranges SplitAt(std::string_view text, std::string_view separator, int64_t at_most) {
  Ranges ranges;
  size_t begin = 0;
  for (int64_t count = 0; at_most < 0 || count < at_most; ++count) {
    const size_t found = text.find(separator, begin);
    if (found == std::string_view::npos) break;
    ranges.push_back({begin, found});
    begin = found + separator.size();
  }
  ranges.push_back({begin, text.size()});
  return ranges;
}

Ranges SplitAtFromRight(std::string_view text, std::string_view separator, int64_t at_most) {
  Ranges ranges;
  size_t end = text.size();
  for (int64_t count = 0; at_most < 0 || count < at_most; ++count) {
    if (end < separator.size()) break;
    const size_t found = text.rfind(separator, end - separator.size());
    if (found == std::string_view::npos) break;
    ranges.push_back({found + separator.size(), end});
    end = found;
  }
  ranges.push_back({0, end});
  std::reverse(ranges.begin(), ranges.end());
  return ranges;
}

Ranges SplitAtSpaces(std::string_view text, int64_t at_most) {
  Ranges ranges;
  std::string_view rest = StripLeft(text);
  while (!rest.empty()) {
    const auto begin = static_cast<size_t>(rest.data() - text.data());
    if (at_most >= 0 && static_cast<int64_t>(ranges.size()) == at_most) {
      ranges.push_back({begin, text.size()});
      break;
    }
    size_t end = begin;
    while (end < text.size()) {
      const DecodedScalar scalar = DecodeUtf8(text, end);
      if (IsPythonSpace(scalar.value)) break;
      end += scalar.length;
    }
    ranges.push_back({begin, end});
    rest = StripLeft(text.substr(end));
  }
  return ranges;
}

Ranges SplitAtSpacesFromRight(std::string_view text, int64_t at_most) {
  Ranges words = SplitAtSpaces(text, -1);
  const auto count = static_cast<int64_t>(words.size());
  if (at_most < 0 || count <= at_most) return words;
  // The first words stay together, with the spaces between them but none at the end.
  const size_t rest = static_cast<size_t>(count - at_most);
  Ranges ranges{{0, words[rest - 1].end}};
  ranges.insert(ranges.end(), words.begin() + static_cast<ptrdiff_t>(rest), words.end());
  return ranges;
}

absl::StatusOr<std::vector<Value>> Pieces(Interpreter& in, const Text& text, const Ranges& ranges) {
  RETURN_IF_ERROR(in.budget().Items(ranges.size()));
  std::vector<Value> pieces;
  pieces.reserve(ranges.size());
  for (const TextRange& range : ranges) {
    ASSIGN_OR_RETURN(Value piece, in.MakeString(text.Part(range.begin, range.end)));
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace

Text PartOf(const Text& text, std::string_view view) {
  const auto begin = static_cast<size_t>(view.data() - text.bytes.data());
  return view.empty() ? Text() : text.Part(begin, begin + view.size());
}

Text Escaped(const Text& text) {
  constexpr std::string_view kSpecial = "&<>\"'";
  constexpr std::string_view kNames[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
  Text out;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t next = std::min(text.bytes.find_first_of(kSpecial, at), text.bytes.size());
    out.AppendPart(text, at, next);
    if (next == text.bytes.size()) break;
    out.Append(
        Text::Tainting(std::string(kNames[kSpecial.find(text.bytes[next])]), text.tainted()));
    at = next + 1;
  }
  return out;
}

absl::StatusOr<Text> Replace(Interpreter& in, const Text& text, const Text& old, const Text& with,
                             int64_t count) {
  const std::string_view bytes = text.bytes;
  Text out;
  size_t at = 0;
  // Replacing "" puts `with` before each character and at the end.
  const bool between = old.bytes.empty();
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    size_t found = between ? at : bytes.find(old.bytes, at);
    if (found == std::string_view::npos) break;
    RETURN_IF_ERROR(in.budget().Step());
    out.AppendPart(text, at, found);
    out.Append(with);
    if (out.bytes.size() > in.budget().limits().output_bytes_max) break;
    if (between && found == bytes.size()) return out;
    const size_t next =
        between ? found + DecodeUtf8(bytes, found).length : found + old.bytes.size();
    if (between) out.AppendPart(text, found, next);
    at = next;
  }
  out.AppendPart(text, at, bytes.size());
  RETURN_IF_ERROR(in.budget().String(out.bytes.size()));
  return out;
}

absl::StatusOr<std::vector<Value>> Split(Interpreter& in, const Text& text,
                                         std::string_view separator, int64_t at_most,
                                         bool from_right) {
  RETURN_IF_ERROR(in.budget().String(text.bytes.size()));
  const std::string_view bytes = text.bytes;
  if (separator.empty()) {
    return Pieces(
        in, text,
        from_right ? SplitAtSpacesFromRight(bytes, at_most) : SplitAtSpaces(bytes, at_most));
  }
  return Pieces(in, text,
                from_right ? SplitAtFromRight(bytes, separator, at_most)
                           : SplitAt(bytes, separator, at_most));
}

absl::StatusOr<std::vector<Value>> SplitLines(Interpreter& in, const Text& text, bool keep_ends) {
  const std::string_view bytes = text.bytes;
  Ranges ranges;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const DecodedScalar scalar = DecodeUtf8(bytes, at);
    const uint32_t s = scalar.value;
    const bool breaks = (s >= 0x0A && s <= 0x0D) || (s >= 0x1C && s <= 0x1E) || s == 0x85 ||
                        s == 0x2028 || s == 0x2029;
    size_t end = at + scalar.length;
    if (breaks) {
      if (s == '\r' && end < bytes.size() && bytes[end] == '\n') ++end;
      ranges.push_back({begin, keep_ends ? end : at});
      begin = end;
    }
    at = end;
  }
  if (begin < bytes.size()) ranges.push_back({begin, bytes.size()});
  return Pieces(in, text, ranges);
}

absl::StatusOr<Text> Join(Interpreter& in, const std::vector<Value>& items, const Text& separator) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    RETURN_IF_ERROR(in.budget().Step());
    if (i > 0) out.Append(separator);
    ASSIGN_OR_RETURN(const Text text, ToText(items[i], in.budget()));
    out.Append(text);
    if (out.bytes.size() > in.budget().limits().output_bytes_max) break;
  }
  RETURN_IF_ERROR(in.budget().String(out.bytes.size()));
  return out;
}

}  // namespace conclave::engine::jinja
