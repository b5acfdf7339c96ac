#include "gateway/dialects/ollama/answer.h"

#include <utility>

#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::ollama {

namespace {

absl::Status Unsupported(const std::string& name, std::string_view what) {
  return base::InvalidArgument("\"" + name + "\" does not support " + std::string(what));
}

}  // namespace

absl::Status SetModel(const Services& services, const Request& http, const std::string& name,
                      std::string_view verb, v1::GenerateRequest* request) {
  absl::StatusOr<std::string> own_name = ResolveModel(*services.models, name);
  if (absl::IsNotFound(own_name.status()) && ForgivesNames(http.profile)) {
    const std::optional<v1::ModelStatus> other = DefaultModel(services, "completion");
    if (other) own_name = other->name();
  }
  if (!own_name.ok()) return own_name.status();
  ASSIGN_OR_RETURN(const v1::ModelStatus model, services.models->Find(*own_name));
  // What is still loading has not said what it can.
  if (model.state() == v1::ModelStatus::STATE_READY) {
    if (!Can(model, "completion")) return Unsupported(name, verb);
    if (request->has_infill() && !Can(model, "insert")) return Unsupported(name, "insert");
    const std::string_view missing = MissingCapability(model, request->chat());
    if (!missing.empty()) return Unsupported(name, missing);
  }
  ApplyDefaults(model, request->mutable_sampling());
  request->set_model(*own_name);
  return absl::OkStatus();
}

Task<void> ReplyLoaded(Exchange& exchange, const ReplyShape& shape, bool unload) {
  Ending loaded;
  loaded.done_reason = unload ? "unload" : "load";
  return ReplyJson(exchange, EncodeLast(shape, Piece(), loaded));
}

Task<void> Answer(const Services& services, Exchange& exchange, v1::GenerateRequest request,
                  ReplyShape shape, bool stream, std::vector<int32_t> prompt_ids) {
  if (stream) {
    StreamEncoder encoder(std::move(shape));
    encoder.set_prompt_ids(std::move(prompt_ids));
    if (exchange.request.profile == CompatProfile::kKtLegacy) encoder.set_content_type(kSseType);
    co_await StreamGeneration(services, exchange, std::move(request), encoder, ErrorJson);
    co_return;
  }
  const auto encode = [&](const Completion& whole) {
    const Completion::Choice& choice = whole.choices.front();
    Ending ending = EndingOf(choice.finished, whole.usage);
    if (!prompt_ids.empty()) {
      ending.context = prompt_ids;
      ending.context.insert(ending.context.end(), choice.token_ids.begin(), choice.token_ids.end());
    }
    return EncodeLast(shape, PieceOf(whole), ending);
  };
  co_await ReplyGeneration(services, exchange, std::move(request), encode, ErrorJson);
}

}  // namespace conclave::gateway::ollama
