// conclave.v1.Threads over store/threads.h and store/messages.h: proto in, proto out.
#pragma once

#include "conclave/v1/threads.grpc.pb.h"
#include "store/messages.h"
#include "store/services/dispatcher.h"
#include "store/threads.h"

namespace conclave::store {

class ThreadsService final : public conclave::v1::Threads::CallbackService {
 public:
  ThreadsService(Threads& threads, Messages& messages, Dispatcher& dispatcher)
      : threads_(threads), messages_(messages), dispatcher_(dispatcher) {}

  grpc::ServerUnaryReactor* CreateThread(grpc::CallbackServerContext* context,
                                         const conclave::v1::CreateThreadRequest* request,
                                         conclave::v1::Thread* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return threads_.Create(r); });
  }
  grpc::ServerUnaryReactor* GetThread(grpc::CallbackServerContext* context,
                                      const conclave::v1::GetThreadRequest* request,
                                      conclave::v1::Thread* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return threads_.Get(r); });
  }
  grpc::ServerUnaryReactor* ListThreads(grpc::CallbackServerContext* context,
                                        const conclave::v1::ListThreadsRequest* request,
                                        conclave::v1::ListThreadsReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return threads_.List(r); });
  }
  grpc::ServerUnaryReactor* ModifyThread(grpc::CallbackServerContext* context,
                                         const conclave::v1::ModifyThreadRequest* request,
                                         conclave::v1::Thread* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return threads_.Modify(r); });
  }
  grpc::ServerUnaryReactor* DeleteThread(grpc::CallbackServerContext* context,
                                         const conclave::v1::DeleteThreadRequest* request,
                                         conclave::v1::DeleteReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return threads_.Delete(r); });
  }
  grpc::ServerUnaryReactor* CreateMessage(grpc::CallbackServerContext* context,
                                          const conclave::v1::CreateMessageRequest* request,
                                          conclave::v1::Message* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return messages_.Create(r); });
  }
  grpc::ServerUnaryReactor* GetMessage(grpc::CallbackServerContext* context,
                                       const conclave::v1::GetMessageRequest* request,
                                       conclave::v1::Message* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return messages_.Get(r); });
  }
  grpc::ServerUnaryReactor* ListMessages(grpc::CallbackServerContext* context,
                                         const conclave::v1::ListMessagesRequest* request,
                                         conclave::v1::ListMessagesReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return messages_.List(r); });
  }
  grpc::ServerUnaryReactor* ModifyMessage(grpc::CallbackServerContext* context,
                                          const conclave::v1::ModifyMessageRequest* request,
                                          conclave::v1::Message* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return messages_.Modify(r); });
  }
  grpc::ServerUnaryReactor* DeleteMessage(grpc::CallbackServerContext* context,
                                          const conclave::v1::DeleteMessageRequest* request,
                                          conclave::v1::DeleteReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return messages_.Delete(r); });
  }

 private:
  Threads& threads_;
  Messages& messages_;
  Dispatcher& dispatcher_;
};

}  // namespace conclave::store
