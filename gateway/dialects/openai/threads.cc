// /v1/threads and /v1/threads/{thread}/messages.
#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/dialects/openai/store_routes.h"

namespace conclave::gateway::openai {
namespace {

std::string ThreadOf(const Exchange& exchange) {
  return std::string(exchange.request.Param("thread"));
}
std::string MessageOf(const Exchange& exchange) {
  return std::string(exchange.request.Param("message"));
}

Task<void> CreateThread(const Services& services, Exchange& exchange) {
  return CallStore<v1::CreateThreadRequest, v1::Thread>(
      services, exchange, &StoreUpstream::CreateThread,
      [](Exchange& e) { return DecodeBody(e, DecodeCreateThread); }, Encode<v1::Thread>);
}

// Not OpenAI's: the seed KTransformers lists threads.
Task<void> ListThreads(const Services& services, Exchange& exchange) {
  return CallStore<v1::ListThreadsRequest, v1::ListThreadsReply>(
      services, exchange, &StoreUpstream::ListThreads,
      [](Exchange& e) -> absl::StatusOr<v1::ListThreadsRequest> {
        v1::ListThreadsRequest request;
        ASSIGN_OR_RETURN(*request.mutable_page(), DecodePage(e.request));
        return request;
      },
      EncodeList<v1::ListThreadsReply>);
}

Task<void> GetThread(const Services& services, Exchange& exchange) {
  return CallStore<v1::GetThreadRequest, v1::Thread>(
      services, exchange, &StoreUpstream::GetThread,
      [](Exchange& e) -> absl::StatusOr<v1::GetThreadRequest> {
        v1::GetThreadRequest request;
        request.set_id(ThreadOf(e));
        return request;
      },
      Encode<v1::Thread>);
}

Task<void> ModifyThread(const Services& services, Exchange& exchange) {
  return CallStore<v1::ModifyThreadRequest, v1::Thread>(
      services, exchange, &StoreUpstream::ModifyThread,
      [](Exchange& e) -> absl::StatusOr<v1::ModifyThreadRequest> {
        ASSIGN_OR_RETURN(v1::ModifyThreadRequest request, DecodeBody(e, DecodeModifyThread));
        request.set_id(ThreadOf(e));
        return request;
      },
      Encode<v1::Thread>);
}

Task<void> DeleteThread(const Services& services, Exchange& exchange) {
  return CallStore<v1::DeleteThreadRequest, v1::DeleteReply>(
      services, exchange, &StoreUpstream::DeleteThread,
      [](Exchange& e) -> absl::StatusOr<v1::DeleteThreadRequest> {
        v1::DeleteThreadRequest request;
        request.set_id(ThreadOf(e));
        return request;
      },
      [](const v1::DeleteReply& reply) { return EncodeDeleted(reply.id(), "thread.deleted"); });
}

Task<void> CreateMessage(const Services& services, Exchange& exchange) {
  return CallStore<v1::CreateMessageRequest, v1::Message>(
      services, exchange, &StoreUpstream::CreateMessage,
      [](Exchange& e) -> absl::StatusOr<v1::CreateMessageRequest> {
        ASSIGN_OR_RETURN(v1::CreateMessageRequest request, DecodeBody(e, DecodeCreateMessage));
        request.set_thread_id(ThreadOf(e));
        return request;
      },
      Encode<v1::Message>);
}

Task<void> ListMessages(const Services& services, Exchange& exchange) {
  return CallStore<v1::ListMessagesRequest, v1::ListMessagesReply>(
      services, exchange, &StoreUpstream::ListMessages,
      [](Exchange& e) -> absl::StatusOr<v1::ListMessagesRequest> {
        v1::ListMessagesRequest request;
        ASSIGN_OR_RETURN(*request.mutable_page(), DecodePage(e.request));
        request.set_thread_id(ThreadOf(e));
        request.set_run_id(e.request.Query("run_id").value_or(std::string()));
        return request;
      },
      ListEncoder<v1::ListMessagesReply>(exchange.request.profile));
}

Task<void> GetMessage(const Services& services, Exchange& exchange) {
  return CallStore<v1::GetMessageRequest, v1::Message>(
      services, exchange, &StoreUpstream::GetMessage,
      [](Exchange& e) -> absl::StatusOr<v1::GetMessageRequest> {
        v1::GetMessageRequest request;
        request.set_thread_id(ThreadOf(e));
        request.set_id(MessageOf(e));
        return request;
      },
      Encode<v1::Message>);
}

Task<void> ModifyMessage(const Services& services, Exchange& exchange) {
  // Metadata is all that can be modified, and what is not given stays.
  if (!Gives(exchange, "metadata")) return GetMessage(services, exchange);
  return CallStore<v1::ModifyMessageRequest, v1::Message>(
      services, exchange, &StoreUpstream::ModifyMessage,
      [](Exchange& e) -> absl::StatusOr<v1::ModifyMessageRequest> {
        ASSIGN_OR_RETURN(v1::ModifyMessageRequest request, DecodeBody(e, DecodeModifyMessage));
        request.set_thread_id(ThreadOf(e));
        request.set_id(MessageOf(e));
        return request;
      },
      Encode<v1::Message>);
}

Task<void> DeleteMessage(const Services& services, Exchange& exchange) {
  return CallStore<v1::DeleteMessageRequest, v1::DeleteReply>(
      services, exchange, &StoreUpstream::DeleteMessage,
      [](Exchange& e) -> absl::StatusOr<v1::DeleteMessageRequest> {
        v1::DeleteMessageRequest request;
        request.set_thread_id(ThreadOf(e));
        request.set_id(MessageOf(e));
        return request;
      },
      [](const v1::DeleteReply& reply) {
        return EncodeDeleted(reply.id(), "thread.message.deleted");
      });
}

}  // namespace

void AddThreadRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view method, std::string_view path, auto handle) {
    AddBoth(router, method, path,
            [&services, handle](Exchange& exchange) { return handle(services, exchange); });
  };
  add("POST", "/threads", CreateThread);
  add("GET", "/threads", ListThreads);
  add("GET", "/threads/{thread}", GetThread);
  add("POST", "/threads/{thread}", ModifyThread);
  add("DELETE", "/threads/{thread}", DeleteThread);
  add("POST", "/threads/{thread}/messages", CreateMessage);
  add("GET", "/threads/{thread}/messages", ListMessages);
  add("GET", "/threads/{thread}/messages/{message}", GetMessage);
  add("POST", "/threads/{thread}/messages/{message}", ModifyMessage);
  add("DELETE", "/threads/{thread}/messages/{message}", DeleteMessage);
}

}  // namespace conclave::gateway::openai
