// One Generate call over a plain stub, with nothing of common/mesh's clients in between: for tests
// of the worker itself.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "conclave/v1/inference.grpc.pb.h"

namespace conclave::tests {

// To a worker that is there: connected when it returns.
inline std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // As the mesh's channels: a reader that stops reading is noticed after some 64 KB.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 10);
  // With many channels at once gRPC 1.51 has reported a failed connect to a listening port
  // ("No such file or directory", cause unknown); the channel's own next try gets through.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10));
  return channel;
}

inline conclave::v1::GenerateRequest UserSays(const std::string& content,
                                              const std::string& model = "scripted") {
  conclave::v1::GenerateRequest request;
  request.set_model(model);
  auto* message = request.mutable_chat()->add_messages();
  message->set_role(conclave::v1::ROLE_USER);
  message->add_content()->set_text(content);
  return request;
}

struct Answer {
  grpc::Status status;
  std::vector<conclave::v1::GenerateEvent> events;

  std::string text() const {
    std::string all;
    for (const auto& event : events) {
      if (event.has_delta()) all += event.delta().text();
    }
    return all;
  }
  int num_finished() const {
    int count = 0;
    for (const auto& event : events) count += event.has_finished() ? 1 : 0;
    return count;
  }
};

// Reads to the end.
inline Answer Ask(const std::shared_ptr<grpc::Channel>& channel,
                  const conclave::v1::GenerateRequest& request,
                  std::chrono::seconds deadline = std::chrono::seconds(60)) {
  const auto stub = conclave::v1::Inference::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  const auto reader = stub->Generate(&context, request);
  Answer answer;
  conclave::v1::GenerateEvent event;
  while (reader->Read(&event)) answer.events.push_back(event);
  answer.status = reader->Finish();
  return answer;
}

}  // namespace conclave::tests
