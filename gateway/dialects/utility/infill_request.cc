#include "gateway/dialects/utility/infill_request.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gateway/dialects/openai/format.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kStopMax = 16;
constexpr size_t kFilesMax = 256;
constexpr size_t kBytesMax = 1u << 20;  // of the suffix, and of all files: the workers' limits
constexpr size_t kFieldsMax = 64;

// What an editor shows of other files.
absl::Status ReadFiles(JsonValue files, v1::Infill* out) {
  if (files.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(files.ExpectArray());
  if (files.size() > kFilesMax) return files.Error(absl::StrCat("at most ", kFilesMax));
  size_t bytes = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const JsonValue file = files.At(i);
    RETURN_IF_ERROR(file.ExpectObject());
    v1::InfillFile* const to = out->add_files();
    ASSIGN_OR_RETURN(std::optional<std::string> name, file.Get("filename").OptionalString());
    to->set_name(std::move(name).value_or("tmp"));
    ASSIGN_OR_RETURN(*to->mutable_text(), file.Get("text").AsString());
    bytes += to->name().size() + to->text().size();
  }
  if (bytes > kBytesMax) return files.Error("longer than 1 MiB together");
  return absl::OkStatus();
}

// The line up to the cursor is given apart from those above it; the gap is behind both.
absl::Status ReadGap(JsonValue root, v1::GenerateRequest* out) {
  ASSIGN_OR_RETURN(std::string before, root.Get("input_prefix").AsString());
  ASSIGN_OR_RETURN(const std::optional<std::string> line, root.Get("prompt").OptionalString());
  before += line.value_or(std::string());
  out->set_text(std::move(before));
  ASSIGN_OR_RETURN(*out->mutable_suffix(), root.Get("input_suffix").AsString());
  if (out->suffix().size() > kBytesMax) return root.Get("input_suffix").Error("longer than 1 MiB");
  return ReadFiles(root.Get("input_extra"), out->mutable_infill());
}

// What llama-server calls otherwise than the fields of completions do.
absl::Status ReadOwnNames(JsonValue root, v1::GenerateRequest* out) {
  v1::SamplingParams* const sampling = out->mutable_sampling();
  if (sampling->has_seed() && root.Get("seed").AsInt().value_or(0) < 0) sampling->clear_seed();
  ASSIGN_OR_RETURN(const std::optional<double> penalty,
                   root.Get("repeat_penalty").OptionalNumber(0.01, 10));
  if (penalty) sampling->set_repetition_penalty(static_cast<float>(*penalty));
  ASSIGN_OR_RETURN(const std::optional<int64_t> last_n,
                   root.Get("repeat_last_n").OptionalInt(-1, kInt32Max));
  if (last_n) sampling->set_penalty_last_n(static_cast<int32_t>(*last_n));
  // -1 is as much as fits; 0 only puts the prompt into the cache.
  ASSIGN_OR_RETURN(const std::optional<int64_t> limit,
                   root.Get("n_predict").OptionalInt(-1, kInt32Max));
  if (limit.value_or(-1) >= 0) out->mutable_stop()->set_max_tokens(static_cast<int32_t>(*limit));
  ASSIGN_OR_RETURN(const std::optional<int64_t> top, root.Get("n_probs").OptionalInt(0, 20));
  if (top.value_or(0) > 0) out->mutable_logprobs()->set_top(static_cast<int32_t>(*top));
  return absl::OkStatus();
}

absl::Status ReadFields(JsonValue fields, std::vector<std::string>* out) {
  if (fields.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(fields.ExpectArray());
  if (fields.size() > kFieldsMax) return fields.Error(absl::StrCat("at most ", kFieldsMax));
  for (size_t i = 0; i < fields.size(); ++i) {
    ASSIGN_OR_RETURN(std::string path, fields.At(i).AsString());
    out->push_back(std::move(path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<InfillRequest> DecodeInfillRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  InfillRequest request;
  ASSIGN_OR_RETURN(std::optional<std::string> model, root.Get("model").OptionalString());
  request.generate.set_model(std::move(model).value_or(std::string()));
  RETURN_IF_ERROR(ReadGap(root, &request.generate));
  RETURN_IF_ERROR(openai::ReadSampling(root, kStopMax, &request.generate));
  RETURN_IF_ERROR(ReadOwnNames(root, &request.generate));
  RETURN_IF_ERROR(openai::ReadFormat(root, &request.generate));
  if (request.generate.n() > 1) return root.Get("n").Error("one gap is filled once");
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  request.stream = stream.value_or(false);
  ASSIGN_OR_RETURN(const std::optional<bool> tokens, root.Get("return_tokens").OptionalBool());
  request.with_tokens = tokens.value_or(false);
  RETURN_IF_ERROR(ReadFields(root.Get("response_fields"), &request.fields));
  return request;
}

}  // namespace conclave::gateway::utility
