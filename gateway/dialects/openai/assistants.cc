// /v1/assistants.
#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/dialects/openai/store_routes.h"

namespace conclave::gateway::openai {
namespace {

std::string IdOf(const Exchange& exchange) {
  return std::string(exchange.request.Param("assistant"));
}

Task<void> Create(const Services& services, Exchange& exchange) {
  return CallStore<v1::CreateAssistantRequest, v1::Assistant>(
      services, exchange, &StoreUpstream::CreateAssistant,
      [](Exchange& e) { return DecodeBody(e, DecodeCreateAssistant); }, Encode<v1::Assistant>);
}

Task<void> List(const Services& services, Exchange& exchange) {
  return CallStore<v1::ListAssistantsRequest, v1::ListAssistantsReply>(
      services, exchange, &StoreUpstream::ListAssistants,
      [](Exchange& e) -> absl::StatusOr<v1::ListAssistantsRequest> {
        v1::ListAssistantsRequest request;
        ASSIGN_OR_RETURN(*request.mutable_page(), DecodePage(e.request));
        return request;
      },
      ListEncoder<v1::ListAssistantsReply>(exchange.request.profile));
}

Task<void> Get(const Services& services, Exchange& exchange) {
  return CallStore<v1::GetAssistantRequest, v1::Assistant>(
      services, exchange, &StoreUpstream::GetAssistant,
      [](Exchange& e) -> absl::StatusOr<v1::GetAssistantRequest> {
        v1::GetAssistantRequest request;
        request.set_id(IdOf(e));
        return request;
      },
      Encode<v1::Assistant>);
}

Task<void> Modify(const Services& services, Exchange& exchange) {
  return CallStore<v1::ModifyAssistantRequest, v1::Assistant>(
      services, exchange, &StoreUpstream::ModifyAssistant,
      [](Exchange& e) -> absl::StatusOr<v1::ModifyAssistantRequest> {
        ASSIGN_OR_RETURN(v1::ModifyAssistantRequest request, DecodeBody(e, DecodeModifyAssistant));
        request.set_id(IdOf(e));
        return request;
      },
      Encode<v1::Assistant>);
}

Task<void> Delete(const Services& services, Exchange& exchange) {
  return CallStore<v1::DeleteAssistantRequest, v1::DeleteReply>(
      services, exchange, &StoreUpstream::DeleteAssistant,
      [](Exchange& e) -> absl::StatusOr<v1::DeleteAssistantRequest> {
        v1::DeleteAssistantRequest request;
        request.set_id(IdOf(e));
        return request;
      },
      [](const v1::DeleteReply& reply) { return EncodeDeleted(reply.id(), "assistant.deleted"); });
}

}  // namespace

absl::Status CheckStore(const Services& services) {
  if (services.store != nullptr) return absl::OkStatus();
  return base::Unimplemented("this server runs without a store: nothing stateful is served");
}

bool Gives(const Exchange& exchange, std::string_view field) {
  const auto document = ParseStoredBody(exchange.request.body);
  return !document.ok() || document->root().Get(field).present();
}

void AddAssistantRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view method, std::string_view path, auto handle) {
    AddBoth(router, method, path,
            [&services, handle](Exchange& exchange) { return handle(services, exchange); });
  };
  add("POST", "/assistants", Create);
  add("GET", "/assistants", List);
  add("GET", "/assistants/{assistant}", Get);
  add("POST", "/assistants/{assistant}", Modify);
  add("DELETE", "/assistants/{assistant}", Delete);
}

}  // namespace conclave::gateway::openai
