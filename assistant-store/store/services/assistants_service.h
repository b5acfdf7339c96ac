// conclave.v1.Assistants over store/assistants.h: proto in, proto out.
#pragma once

#include "conclave/v1/assistants.grpc.pb.h"
#include "store/assistants.h"
#include "store/services/dispatcher.h"

namespace conclave::store {

class AssistantsService final : public conclave::v1::Assistants::CallbackService {
 public:
  AssistantsService(Assistants& assistants, Dispatcher& dispatcher)
      : assistants_(assistants), dispatcher_(dispatcher) {}

  grpc::ServerUnaryReactor* CreateAssistant(grpc::CallbackServerContext* context,
                                            const conclave::v1::CreateAssistantRequest* request,
                                            conclave::v1::Assistant* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return assistants_.Create(r); });
  }
  grpc::ServerUnaryReactor* GetAssistant(grpc::CallbackServerContext* context,
                                         const conclave::v1::GetAssistantRequest* request,
                                         conclave::v1::Assistant* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return assistants_.Get(r); });
  }
  grpc::ServerUnaryReactor* ListAssistants(grpc::CallbackServerContext* context,
                                           const conclave::v1::ListAssistantsRequest* request,
                                           conclave::v1::ListAssistantsReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return assistants_.List(r); });
  }
  grpc::ServerUnaryReactor* ModifyAssistant(grpc::CallbackServerContext* context,
                                            const conclave::v1::ModifyAssistantRequest* request,
                                            conclave::v1::Assistant* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return assistants_.Modify(r); });
  }
  grpc::ServerUnaryReactor* DeleteAssistant(grpc::CallbackServerContext* context,
                                            const conclave::v1::DeleteAssistantRequest* request,
                                            conclave::v1::DeleteReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return assistants_.Delete(r); });
  }

 private:
  Assistants& assistants_;
  Dispatcher& dispatcher_;
};

}  // namespace conclave::store
