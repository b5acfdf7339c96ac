#include "engine/tokenizer/token_text.h"

#include <functional>

#include "absl/strings/str_replace.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/normalizer.h"

namespace conclave::engine {
namespace {

class FunctionText final : public TokenTextStep {
 public:
  explicit FunctionText(std::function<void(bool, std::string*)> apply) : apply_(std::move(apply)) {}
  void Apply(bool first, std::string* bytes) const override { apply_(first, bytes); }

 private:
  std::function<void(bool, std::string*)> apply_;
};

std::unique_ptr<const TokenTextStep> Step(std::function<void(bool, std::string*)> apply) {
  return std::make_unique<FunctionText>(std::move(apply));
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// One after the other, each over the result of the one before.
void CleanUp(std::string* text) {
  constexpr std::pair<const char*, const char*> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) absl::StrReplaceAll({{from, to}}, text);
}

}  // namespace

std::string TokenText::Of(std::string_view token, bool first) const {
  std::string bytes(token);
  for (const auto& step : steps_) step->Apply(first, &bytes);
  return bytes;
}

std::unique_ptr<const TokenTextStep> MakeByteLevelText() {
  return Step([](bool, std::string* bytes) { *bytes = ByteLevelTokenBytes(*bytes); });
}

std::unique_ptr<const TokenTextStep> MakeByteFallbackText() {
  return Step([](bool, std::string* bytes) {
    if (bytes->size() != 6 || !bytes->starts_with("<0x") || !bytes->ends_with('>')) return;
    const int high = HexDigit((*bytes)[3]), low = HexDigit((*bytes)[4]);
    if (high >= 0 && low >= 0) *bytes = std::string(1, static_cast<char>(high << 4 | low));
  });
}

std::unique_ptr<const TokenTextStep> MakeMetaspaceText(std::string replacement, bool drops_first) {
  return Step([replacement = std::move(replacement), drops_first](bool first, std::string* bytes) {
    absl::StrReplaceAll({{replacement, first && drops_first ? "" : " "}}, bytes);
  });
}

std::unique_ptr<const TokenTextStep> MakeWordPieceText(std::string prefix, bool cleanup) {
  return Step([prefix = std::move(prefix), cleanup](bool first, std::string* bytes) {
    if (!first && bytes->starts_with(prefix)) {
      bytes->erase(0, prefix.size());
    } else if (!first) {
      bytes->insert(0, 1, ' ');
    }
    if (cleanup) CleanUp(bytes);
  });
}

std::unique_ptr<const TokenTextStep> MakeReplaceText(Regex pattern, std::string content) {
  return Step([pattern = std::move(pattern), content = std::move(content)](
                  bool, std::string* bytes) { *bytes = ReplaceMatches(*bytes, pattern, content); });
}

std::unique_ptr<const TokenTextStep> MakeStripText(std::string content, int start, int stop,
                                                   bool of_whole_text) {
  return Step([=, content = std::move(content)](bool first, std::string* bytes) {
    for (int i = 0; i < start && (first || !of_whole_text); ++i) {
      if (!bytes->starts_with(content)) break;
      bytes->erase(0, content.size());
    }
    for (int i = 0; i < stop && !of_whole_text; ++i) {
      if (!bytes->ends_with(content)) break;
      bytes->resize(bytes->size() - content.size());
    }
  });
}

std::unique_ptr<const TokenTextStep> MakeJoinedText() {
  return Step([](bool first, std::string* bytes) {
    if (!first) bytes->insert(0, 1, ' ');
  });
}

}  // namespace conclave::engine
