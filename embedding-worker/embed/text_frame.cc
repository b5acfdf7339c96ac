#include "embed/text_frame.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/json.h"

namespace conclave::embed {
namespace {

using base::JsonValue;
using engine::ModelSource;
using engine::Tokenizer;

constexpr char kTokenizerJson[] = "tokenizer.huggingface.json";
constexpr char kRerankTemplate[] = "tokenizer.chat_template.rerank";
constexpr int64_t kIdMax = 4 << 20;

TextFrame FrameOf(const Tokenizer& tokenizer) {
  const std::vector<TokenId> text = tokenizer.Encode("a", {});
  const std::vector<TokenId> all = tokenizer.Encode("a", {.add_special = true});
  const auto at = std::search(all.begin(), all.end(), text.begin(), text.end());
  return {.prefix = {all.begin(), at},
          .middle = {},
          .suffix = {at + std::min(static_cast<std::ptrdiff_t>(text.size()), all.end() - at),
                     all.end()}};
}

// The ids between $A and $B of a TemplateProcessing.
absl::StatusOr<std::vector<TokenId>> TemplateMiddle(const JsonValue& processor) {
  const JsonValue parts = processor.Get("pair");
  RETURN_IF_ERROR(parts.ExpectArray());
  std::vector<TokenId> middle;
  int sequences = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts.At(i).Get("Sequence").present()) {
      ++sequences;
      continue;
    }
    if (sequences != 1) continue;
    ASSIGN_OR_RETURN(const std::string name, parts.At(i).Get("SpecialToken").Get("id").AsString());
    const JsonValue ids = processor.Get("special_tokens").Get(name).Get("ids");
    RETURN_IF_ERROR(ids.ExpectArray());
    for (size_t k = 0; k < ids.size(); ++k) {
      ASSIGN_OR_RETURN(const int64_t id, ids.At(k).AsInt(0, kIdMax));
      middle.push_back(static_cast<TokenId>(id));
    }
  }
  return middle;
}

// Nothing when the post-processor is of a kind that does not say.
absl::StatusOr<std::optional<std::vector<TokenId>>> ReadMiddle(const JsonValue& processor) {
  if (processor.missing()) return std::nullopt;
  ASSIGN_OR_RETURN(const std::string type, processor.Get("type").AsString());
  if (type == "Sequence") {
    const JsonValue steps = processor.Get("processors");
    for (size_t i = 0; i < steps.size(); ++i) {
      ASSIGN_OR_RETURN(auto middle, ReadMiddle(steps.At(i)));
      if (middle.has_value()) return middle;
    }
    return std::nullopt;
  }
  if (type == "TemplateProcessing") return TemplateMiddle(processor);
  if (type != "BertProcessing" && type != "RobertaProcessing") return std::nullopt;
  const JsonValue pair = processor.Get("sep");
  if (!pair.is_array() || pair.size() != 2) return pair.Error("expected a token and its id");
  ASSIGN_OR_RETURN(const int64_t id, pair.At(1).AsInt(0, kIdMax));
  return std::vector<TokenId>(type == "BertProcessing" ? 1 : 2, static_cast<TokenId>(id));
}

absl::StatusOr<std::optional<std::vector<TokenId>>> MiddleOfJson(const ModelSource& source) {
  ASSIGN_OR_RETURN(const std::string_view text, source.GetString(kTokenizerJson));
  base::JsonLimits limits;
  limits.members_max = kIdMax;
  limits.values_max = 4 * kIdMax;
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(text, limits));
  auto middle = ReadMiddle(document.root().Get("post_processor"));
  if (!middle.ok()) return base::Annotate(middle.status(), "tokenizer.json");
  return middle;
}

// "… {query} … {document}<special token> …"
absl::StatusOr<TextFrame::Template> ReadTemplate(std::string_view text,
                                                 const Tokenizer& tokenizer) {
  constexpr std::string_view kQuery = "{query}", kDocument = "{document}";
  const size_t query = text.find(kQuery), document = text.find(kDocument);
  if (query == std::string_view::npos || document == std::string_view::npos || document < query) {
    return base::InvalidArgument(
        absl::StrCat(kRerankTemplate, ": expected {query}, then {document}"));
  }
  TextFrame::Template made;
  made.head = text.substr(0, query);
  const size_t after_query = query + kQuery.size();
  made.middle = text.substr(after_query, document - after_query);
  made.suffix = tokenizer.Encode(text.substr(document + kDocument.size()), {.parse_special = true});
  if (made.suffix.empty() || !tokenizer.IsControl(made.suffix.front())) {
    return base::Unimplemented(
        absl::StrCat(kRerankTemplate, ": expected a special token behind {document}"));
  }
  return made;
}

}  // namespace

absl::StatusOr<TextFrame> ReadTextFrame(const ModelSource& source, const Tokenizer& tokenizer) {
  TextFrame frame = FrameOf(tokenizer);
  if (source.Has(kRerankTemplate)) {
    ASSIGN_OR_RETURN(const std::string_view text, source.GetString(kRerankTemplate));
    ASSIGN_OR_RETURN(frame.pair_template, ReadTemplate(text, tokenizer));
  }
  if (source.Has(kTokenizerJson)) {
    ASSIGN_OR_RETURN(auto middle, MiddleOfJson(source));
    if (middle.has_value()) {
      for (const TokenId id : *middle) {
        if (id < tokenizer.vocab_size()) continue;
        return base::InvalidArgument("tokenizer.json: post_processor: token " + std::to_string(id) +
                                     " is outside the vocabulary");
      }
      frame.middle = *std::move(middle);
      return frame;
    }
  }
  ASSIGN_OR_RETURN(const bool twice, source.GetBool("tokenizer.ggml.add_sep_token",
                                                    tokenizer.model_name() != "bert"));
  frame.middle = frame.suffix;
  if (!twice) return frame;
  const TokenId eos = tokenizer.eos();
  ASSIGN_OR_RETURN(const int64_t separator,
                   source.GetInt("tokenizer.ggml.seperator_token_id", 0, tokenizer.vocab_size() - 1,
                                 std::max(eos, 0)));
  if (eos >= 0) frame.middle.push_back(static_cast<TokenId>(separator));
  return frame;
}

}  // namespace conclave::embed
