#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <limits>

#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {
namespace {

constexpr size_t kTokenBytesMax = std::numeric_limits<uint16_t>::max();

size_t CommonPrefix(std::string_view a, std::string_view b) {
  size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  return i;
}

// In the middle of what is no UTF-8.
constexpr int kAstray = -1;
constexpr size_t kTextsMax = 64;  // a third of a megabyte each

// Where a byte leads from a place in a character (characters.h); what it begins is added.
int Read(uint8_t byte, int place, Characters* characters, int* scalars) {
  if (place == kAstray) return kAstray;
  if (place != 0) {
    const Utf8Edge& edge = kUtf8Nexts[static_cast<size_t>(place)];
    return byte >= edge.first && byte <= edge.last ? edge.to : kAstray;
  }
  ++*scalars;
  if (byte < 0x80) {
    characters->AddAscii(byte);
    return 0;
  }
  characters->others = true;
  const auto start = std::find_if(kUtf8Starts.begin(), kUtf8Starts.end(), [&](auto& edge) {
    return byte >= edge.first && byte <= edge.last;
  });
  return start == kUtf8Starts.end() ? kAstray : start->to;
}

}  // namespace

TokenTrie::TokenTrie(std::vector<std::string> bytes) : bytes_(std::move(bytes)) {
  for (TokenId id = 0; id < vocab_size(); ++id) {
    std::string& token = bytes_[static_cast<size_t>(id)];
    if (token.size() > kTokenBytesMax) token.clear();
    if (!token.empty()) order_.push_back(id);
  }
  std::sort(order_.begin(), order_.end(), [&](TokenId a, TokenId b) {
    const int order = this->bytes(a).compare(this->bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  nodes_.push_back({});
  std::vector<int32_t> open = {0};  // the nodes down to the token before
  std::string_view before;
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth + 1; open.pop_back()) {
      nodes_[static_cast<size_t>(open.back())].end = static_cast<int32_t>(nodes_.size());
    }
  };
  for (size_t i = 0; i < order_.size(); ++i) {
    const std::string_view token = this->bytes(order_[i]);
    close_to(CommonPrefix(before, token));
    while (open.size() <= token.size()) {
      const auto depth = static_cast<uint16_t>(open.size());
      open.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({.first_token = static_cast<int32_t>(i),
                        .depth = depth,
                        .byte = static_cast<uint8_t>(token[depth - 1u])});
      depth_max_ = std::max<int32_t>(depth_max_, depth);
    }
    before = token;
  }
  close_to(0);
  nodes_[0].end = static_cast<int32_t>(nodes_.size());
  nodes_.push_back({.end = nodes_[0].end, .first_token = static_cast<int32_t>(order_.size())});
  FindContents();
}

void TokenTrie::FindContents() {
  const size_t count = nodes_.size() - 1;
  // The part of its byte, by node; then its own becomes that of all below, from the last node up.
  std::vector<int> places(static_cast<size_t>(depth_max_) + 1);
  std::vector<Content> steps(count);
  std::vector<size_t> parents(count), path(places.size());
  contents_.resize(count);
  for (size_t i = 1; i < count; ++i) {
    const size_t depth = nodes_[i].depth;
    int scalars = 0;
    places[depth] = Read(nodes_[i].byte, places[depth - 1], &steps[i].characters, &scalars);
    steps[i].scalars = places[depth] == kAstray ? Content::kNoText : static_cast<uint8_t>(scalars);
    contents_[i].between = places[depth] == 0;
    if (places[depth] == kAstray) contents_[i].scalars = Content::kNoText;
    parents[i] = path[depth - 1];
    path[depth] = i;
  }
  const auto more = [](const Content& a, const Content& b) {
    const int sum = std::min<int>(a.scalars + b.scalars, Content::kNoText);
    return static_cast<uint8_t>(sum);
  };
  for (size_t i = count; i-- > 1;) {
    Content& parent = contents_[parents[i]];
    parent.characters.AddAll(steps[i].characters);
    parent.characters.AddAll(contents_[i].characters);
    parent.scalars = std::max(parent.scalars, more(steps[i], contents_[i]));
  }
  // Downwards: what the bytes to a node are is what a token that ends there is.
  token_contents_.resize(order_.size());
  for (size_t i = 1; i < count; ++i) {
    const Content& above = steps[parents[i]];
    steps[i].characters.AddAll(above.characters);
    steps[i].scalars = more(steps[i], above);
    for (int32_t k = nodes_[i].first_token; k < nodes_[i + 1].first_token; ++k) {
      token_contents_[static_cast<size_t>(k)] = steps[i];
    }
  }
}

std::shared_ptr<const TextTokens> TokenTrie::TokensOf(const Characters& characters) const {
  const std::lock_guard lock(texts_->mutex);
  auto& known = texts_->known;
  const auto found = std::find_if(known.begin(), known.end(),
                                  [&](const auto& entry) { return entry.first == characters; });
  if (found != known.end()) {
    known.splice(known.begin(), known, found);
    return known.front().second;
  }
  // Who waits for the mutex meanwhile would often do the same.
  known.emplace_front(characters, std::make_shared<const TextTokens>(*this, characters));
  if (known.size() > kTextsMax) known.pop_back();
  return known.front().second;
}

TextTokens::TextTokens(const TokenTrie& trie, const Characters& characters)
    : up_to_(kShortMax + 1, TokenMask(trie.vocab_size())) {
  const std::span<const TokenId> order = trie.order();
  for (size_t i = 0; i < order.size(); ++i) {
    const TokenTrie::Content& content = trie.content_of(i);
    if (content.scalars == TokenTrie::Content::kNoText) continue;
    if (!content.characters.all_in(characters)) continue;
    if (content.scalars <= kShortMax) {
      up_to_[content.scalars].Allow(order[i]);
    } else {
      longer_.emplace_back(content.scalars, order[i]);
    }
  }
  for (size_t i = 1; i <= kShortMax; ++i) up_to_[i].AllowAll(up_to_[i - 1]);
  std::sort(longer_.begin(), longer_.end());
}

void TextTokens::AddTo(TokenMask* mask, uint8_t scalars) const {
  mask->AllowAll(up_to_[std::min<size_t>(scalars, kShortMax)]);
  for (const auto& [size, token] : longer_) {
    if (size > scalars) return;
    mask->Allow(token);
  }
}

TokenTrie TokenTrie::Of(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocab_size()));
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsEndOfGeneration(id)) continue;
    std::string& token = bytes[static_cast<size_t>(id)];
    token = tokenizer.TokenBytes(id, /*render_special=*/true);
    if (tokenizer.IsControl(id)) {
      token.insert(0, 1, Rules::kControl);
    } else if (token.find(Rules::kControl) != std::string::npos) {
      token.clear();  // a byte that no text has
    }
  }
  return TokenTrie(std::move(bytes));
}

}  // namespace conclave::engine::grammar
