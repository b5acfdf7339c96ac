#include "embed/encoder_file.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "embed/encoder.h"
#include "embed/encoder_folder.h"
#include "embed/text_frame.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/gguf.h"

namespace conclave::embed {
namespace {

using engine::ModelSource;

// {a}.pooling_type. A file with a classifier is a reranker, though it may not say so.
absl::StatusOr<std::optional<Pooling>> ReadPoolingType(const ModelSource& source) {
  ASSIGN_OR_RETURN(const std::string_view architecture, source.Architecture());
  const std::string key = absl::StrCat(base::Abs(architecture), ".pooling_type");
  ASSIGN_OR_RETURN(const int64_t type, source.GetInt(key, 0, 4, 0));
  if (type == 0 && source.FindTensor("cls.output.weight") != nullptr) return Pooling::kRank;
  return PoolingOfType(type);
}

absl::StatusOr<EncoderFile> OpenGgufFile(const std::string& path) {
  EncoderFile file{.format = "gguf"};
  ASSIGN_OR_RETURN(file.source, engine::OpenGguf(path));
  auto tokenizer = engine::LoadTokenizer(*file.source);
  if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), path);
  file.tokenizer = *std::move(tokenizer);
  return file;
}

}  // namespace

absl::StatusOr<EncoderFile> OpenEncoderFile(const std::string& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  auto file = folder ? OpenEncoderFolder(path) : OpenGgufFile(path);
  RETURN_IF_ERROR(file.status());
  ASSIGN_OR_RETURN(const auto pooling, ReadPoolingType(*file->source));
  if (pooling.has_value()) file->pooling = pooling;
  auto frame = ReadTextFrame(*file->source, *file->tokenizer);
  if (!frame.ok()) return base::Annotate(frame.status(), path);
  file->frame = *std::move(frame);
  return file;
}

absl::StatusOr<int32_t> TokensMax(const EncoderFile& file, const EncoderOptions& options,
                                  int32_t context) {
  for (const int32_t limit : {file.tokens_max, options.tokens_max}) {
    if (limit > 0) context = std::min(context, limit);
  }
  if (context <= file.frame.size()) {
    return base::InvalidArgument(absl::StrCat(base::Abs(file.source->path()), ": a context of ",
                                              context, " tokens leaves no room for a text beside ",
                                              file.frame.size(), " special ones"));
  }
  return context;
}

EncoderInfo DescribeFile(const EncoderFile& file) {
  EncoderInfo info{.format = file.format};
  if (const auto name = file.source->Architecture(); name.ok()) info.family = *name;
  std::map<engine::DType, int64_t> elements;
  for (const engine::TensorEntry& tensor : file.source->tensors()) {
    const int64_t count = tensor.view.shape.elements();
    info.parameters += count;
    info.weight_bytes += tensor.view.bytes();
    elements[tensor.view.dtype] += count;
  }
  int64_t most = 0;
  for (const auto& [dtype, count] : elements) {
    if (count <= most) continue;
    most = count;
    info.quantization = engine::NameOf(dtype);
  }
  return info;
}

}  // namespace conclave::embed
