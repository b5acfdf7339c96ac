#include "embed/served_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

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

}  // namespace

ServedModel::ServedModel(std::string name, std::vector<std::string> aliases, std::string revision,
                         int64_t created_unix, std::unique_ptr<Encoder> encoder,
                         const BatcherOptions& batcher)
    : name_(std::move(name)),
      aliases_(std::move(aliases)),
      revision_(std::move(revision)),
      created_unix_(created_unix),
      encoder_(std::move(encoder)),
      batcher_(encoder_.get(), batcher) {}

bool ServedModel::Answers(std::string_view name) const {
  return name == name_ || std::find(aliases_.begin(), aliases_.end(), name) != aliases_.end();
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
  if (ids.size() > room) {
    if (truncate == Truncate::kNone) {
      return Bad(param, absl::StrCat("has ", ids.size(), " tokens, the model takes ", room));
    }
    input.truncated = true;
    if (truncate == Truncate::kStart) {
      ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(room));
    } else {
      ids.resize(room);
    }
  }
  std::vector<TokenId>& all = input.tokens.ids;
  for (const std::vector<TokenId>* part : {&frame.prefix, &std::as_const(ids), &frame.suffix}) {
    all.insert(all.end(), part->begin(), part->end());
  }
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
