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
  // What has just come to a worker has not said what it can.
  if (!model.capabilities().empty()) {
    if (!Can(model, "completion")) return Unsupported(name, verb);
    if (request->has_infill() && !Can(model, "insert")) return Unsupported(name, "insert");
    const std::string_view missing = MissingCapability(model, request->chat());
    if (!missing.empty()) return Unsupported(name, missing);
  }
  ApplyDefaults(model, request->mutable_sampling());
  request->set_model(*own_name);
  return absl::OkStatus();
}

Task<void> Keep(const Services& services, Exchange& exchange, const v1::GenerateRequest& request,
                const ReplyShape& shape) {
  const v1::RequestMeta& meta = request.meta();
  v1::KeepModelRequest keep;
  keep.set_name(request.model());
  if (meta.has_keep_alive_ms()) keep.set_keep_alive_ms(meta.keep_alive_ms());
  keep.set_load_wait_ms(LoadWaitOf(services).count());
  const bool unload = meta.has_keep_alive_ms() && meta.keep_alive_ms() == 0;
  exchange.record.model = request.model();
  Call<v1::KeepModelReply> call = services.workers->KeepModel(
      std::move(keep), std::chrono::steady_clock::now() + services.times.generate);
  const absl::StatusOr<v1::KeepModelReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  Ending done;
  done.done_reason = unload ? "unload" : "load";
  co_await ReplyJson(exchange, EncodeLast(shape, Piece(), done));
}

Task<void> Answer(const Services& services, Exchange& exchange, v1::GenerateRequest request,
                  ReplyShape shape, bool stream, std::vector<int32_t> prompt_ids) {
  request.mutable_meta()->set_load_wait_ms(LoadWaitOf(services).count());
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
