#include "gateway/dialects/embedding_call.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace conclave::gateway {
Task<absl::StatusOr<Embeddings>> EmbedInputs(const Services& services, Exchange& exchange,
                                             v1::EmbedRequest request) {
  const absl::StatusOr<v1::ModelStatus> model =
      FindForgiving(services, exchange.request, "embedding", request.mutable_model());
  if (!model.ok()) co_return model.status();
  if (services.embedding == nullptr || !Can(*model, "embedding")) {
    co_return base::WithParam(
        base::InvalidArgument("the model `" + model->name() + "` does not make embeddings"),
        "model");
  }
  exchange.record.model = model->name();
  absl::StatusOr<Admission::Permit> permit =
      co_await services.admission->Enter(model->name(), exchange.out);
  if (!permit.ok()) co_return permit.status();
  // What the dialect has said of the model's stay goes with it.
  v1::RequestMeta meta = MetaOf(exchange.request);
  if (request.meta().has_keep_alive_ms()) meta.set_keep_alive_ms(request.meta().keep_alive_ms());
  *request.mutable_meta() = std::move(meta);
  Call<Embeddings> call = services.embedding->Embed(
      std::move(request), std::chrono::steady_clock::now() + services.times.embed);
  absl::StatusOr<Embeddings> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  exchange.record.prompt_tokens = reply->usage.prompt_tokens();
  services.metrics->ForModel(model->name())->prompt_tokens.Add(reply->usage.prompt_tokens());
  co_return reply;
}

std::string EncodeFloats(std::span<const float> values) {
  std::string text = "[";
  text.reserve(values.size() * 12);
  std::array<char, 32> digits{};
  for (const float value : values) {
    if (text.size() > 1) text += ',';
    // JSON has no word for these; a vector with one is broken anyway.
    const float finite = std::isfinite(value) ? value : 0.0f;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), finite).ptr;
    text.append(digits.data(), end);
  }
  return text + "]";
}

}  // namespace conclave::gateway
