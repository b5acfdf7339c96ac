#include "embed/served_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace conclave::embed {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTextBytesMax = 1 << 20;
constexpr int64_t kSampleBytes = 64 << 10;
constexpr int64_t kSamples = 64;

// FNV-1a over size and evenly spread samples of one file.
uint64_t HashFile(const fs::path& path, uint64_t hash) {
  std::error_code error;
  const auto size = static_cast<int64_t>(fs::file_size(path, error));
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return hash;
  std::string buffer(static_cast<size_t>(kSampleBytes), '\0');
  for (int64_t i = 0; i < kSamples; ++i) {
    const int64_t at = size / kSamples * i;
    file.clear();
    file.seekg(at);
    file.read(buffer.data(), std::min(kSampleBytes, size - at));
    for (std::streamsize k = 0; k < file.gcount(); ++k) {
      hash = (hash ^ static_cast<unsigned char>(buffer[static_cast<size_t>(k)])) * 0x100000001B3u;
    }
  }
  return hash;
}

std::string Revision(const fs::path& path) {
  uint64_t hash = 0xCBF29CE484222325u;
  std::error_code error;
  if (!fs::is_directory(path, error)) hash = HashFile(path, hash);
  for (const char* name : {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors",
                           "1_Pooling/config.json", "modules.json"}) {
    hash = HashFile(path / name, hash);
  }
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad16));
}

absl::Status Bad(const std::string& param, std::string_view what) {
  return base::WithParam(base::InvalidArgument(absl::StrCat(param, ": ", std::string(what))),
                         param);
}

// Leaves at most `room` ids. INVALID_ARGUMENT with kNone.
absl::Status Cut(size_t room, Truncate truncate, const std::string& param,
                 std::vector<TokenId>* ids) {
  if (ids->size() <= room) return absl::OkStatus();
  if (truncate == Truncate::kNone) {
    return Bad(param, absl::StrCat("has ", ids->size(), " tokens, the model takes ", room));
  }
  if (truncate == Truncate::kStart) {
    ids->erase(ids->begin(), ids->end() - static_cast<std::ptrdiff_t>(room));
  } else {
    ids->resize(room);
  }
  return absl::OkStatus();
}

void Append(const std::vector<TokenId>& part, std::vector<TokenId>* ids) {
  ids->insert(ids->end(), part.begin(), part.end());
}

}  // namespace

ServedModel::ServedModel(std::string name, std::vector<std::string> aliases, std::string revision,
                         int64_t created_unix, std::unique_ptr<Encoder> encoder,
                         const BatcherOptions& batcher)
    : encoder_(std::move(encoder)),
      facts_{.name = std::move(name),
             .aliases = std::move(aliases),
             .revision = std::move(revision),
             .created_unix = created_unix,
             .info = encoder_->info(),
             .vocab_size = encoder_->tokenizer().vocab_size()},
      batcher_(encoder_.get(), batcher) {}

bool ModelFacts::Answers(std::string_view asked) const {
  return asked == name || std::find(aliases.begin(), aliases.end(), asked) != aliases.end();
}

absl::Status ModelFacts::CheckAsked(std::string_view asked, bool to_rank) const {
  const std::string quoted = absl::StrCat("the model \"", std::string(asked), "\" ");
  if (!Answers(asked)) {
    return base::WithParam(
        base::WithReason(base::NotFound(quoted + "does not exist"), "model_not_found"), "model");
  }
  if (to_rank == info.ranks()) return absl::OkStatus();
  return Bad("model", quoted + (to_rank ? "has no head that scores documents"
                                        : "is a reranker and gives no embeddings"));
}

absl::StatusOr<Input> ServedModel::Prepare(std::string_view text, Truncate truncate,
                                           const std::string& param) const {
  if (text.size() > kTextBytesMax) return Bad(param, "longer than 1 MiB");
  return Prepare(encoder_->tokenizer().Encode(text, {}), truncate, param);
}

absl::StatusOr<Input> ServedModel::Prepare(std::vector<TokenId> ids, Truncate truncate,
                                           const std::string& param) const {
  const engine::Tokenizer& tokenizer = encoder_->tokenizer();
  for (const TokenId id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) {
      return Bad(param, absl::StrCat("token id ", id, " is outside the vocabulary of ",
                                     tokenizer.vocab_size()));
    }
  }
  Input input;
  const TextFrame& frame = encoder_->frame();
  const auto room = static_cast<size_t>(std::max(encoder_->info().tokens_max - frame.size(), 0));
  input.truncated = ids.size() > room;
  RETURN_IF_ERROR(Cut(room, truncate, param, &ids));
  for (const auto* part : {&frame.prefix, &std::as_const(ids), &frame.suffix}) {
    Append(*part, &input.tokens.ids);
  }
  return input;
}

absl::StatusOr<Query> ServedModel::PrepareQuery(std::string_view text) const {
  if (text.size() > kTextBytesMax) return Bad("query", "longer than 1 MiB");
  const engine::Tokenizer& tokenizer = encoder_->tokenizer();
  const TextFrame& frame = encoder_->frame();
  Query query;
  size_t suffix = frame.suffix.size();
  if (frame.pair_template.has_value()) {
    const auto& [head, middle, end] = *frame.pair_template;
    query.text = absl::StrCat(head, std::string(text), middle);
    const size_t after = head.size() + text.size();
    query.trusted = {{0, head.size()}, {after, after + middle.size()}};
    query.ids = tokenizer.EncodeTrusted(query.text, query.trusted, false);
    suffix = end.size();
  } else {
    query.ids = frame.prefix;
    Append(tokenizer.Encode(text, {}), &query.ids);
    Append(frame.middle, &query.ids);
  }
  const int64_t room = int64_t{encoder_->info().tokens_max} - static_cast<int64_t>(suffix) - 1;
  if (std::ssize(query.ids) > room) {
    return Bad("query", absl::StrCat("has ", query.ids.size(),
                                     " tokens with what goes around it; to leave room for a "
                                     "document the model takes ",
                                     std::max<int64_t>(room, 0)));
  }
  return query;
}

absl::StatusOr<Input> ServedModel::PreparePair(const Query& query, std::string_view document,
                                               Truncate truncate, const std::string& param) const {
  if (document.size() > kTextBytesMax) return Bad(param, "longer than 1 MiB");
  const engine::Tokenizer& tokenizer = encoder_->tokenizer();
  const TextFrame& frame = encoder_->frame();
  Input input;
  std::vector<TokenId>& all = input.tokens.ids;
  std::vector<TokenId> ids;  // the document's
  const std::vector<TokenId>* suffix = &frame.suffix;
  if (frame.pair_template.has_value()) {
    // In one go: its first token may begin with the space before it, which is then the document's.
    all = tokenizer.EncodeTrusted(query.text + std::string(document), query.trusted, false);
    const auto begin = std::mismatch(query.ids.begin(), query.ids.end(), all.begin(), all.end());
    ids.assign(begin.second, all.end());
    all.erase(begin.second, all.end());
    suffix = &frame.pair_template->suffix;
  } else {
    all = query.ids;
    ids = tokenizer.Encode(document, {});
    input.tokens.second = static_cast<int32_t>(all.size());
  }
  const size_t room =
      static_cast<size_t>(encoder_->info().tokens_max) - all.size() - suffix->size();
  input.truncated = ids.size() > room;
  RETURN_IF_ERROR(Cut(room, truncate, param, &ids));
  Append(ids, &all);
  Append(*suffix, &all);
  return input;
}

std::vector<float> Finish(std::vector<float> vector, int32_t dimensions, bool normalize) {
  const bool cut = dimensions > 0 && static_cast<size_t>(dimensions) < vector.size();
  if (cut) vector.resize(static_cast<size_t>(dimensions));
  if (normalize) Normalize(vector);
  return vector;
}

absl::StatusOr<std::unique_ptr<ServedModel>> OpenServedModel(std::string name,
                                                             std::vector<std::string> aliases,
                                                             const std::string& path,
                                                             const EncoderOptions& options,
                                                             const BatcherOptions& batcher) {
  ASSIGN_OR_RETURN(std::unique_ptr<Encoder> encoder, OpenEncoder(path, options));
  struct stat info {};
  if (::stat((path + "/config.json").c_str(), &info) != 0) ::stat(path.c_str(), &info);
  return std::make_unique<ServedModel>(std::move(name), std::move(aliases), Revision(path),
                                       info.st_mtim.tv_sec, std::move(encoder), batcher);
}

}  // namespace conclave::embed
