#include <grpcpp/grpcpp.h>

#include <memory>

#include "bench/load.h"
#include "conclave/v1/inference.grpc.pb.h"

namespace conclave::bench {
namespace {

// One call at a time of one of the streams; the queue hands it each of its steps.
class GrpcStream final {
 public:
  GrpcStream(v1::Inference::Stub& stub, grpc::CompletionQueue& queue,
             const v1::GenerateRequest& request)
      : stub_(stub), queue_(queue), request_(request) {}

  void Start(std::chrono::system_clock::time_point deadline) {
    reader_.reset();  // lives in the call, which ends with the context
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(deadline);
    step_ = Step::kStarting;
    watch_.Start();
    reader_ = stub_.PrepareAsyncGenerate(context_.get(), request_, &queue_);
    reader_->StartCall(this);
  }

  // True once the call has ended.
  bool Proceed(bool ok) {
    if (step_ == Step::kFinishing) return true;
    if (step_ == Step::kReading && ok) {
      if (!event_.delta().text().empty()) watch_.Pieces(1);
    }
    step_ = ok ? Step::kReading : Step::kFinishing;
    if (ok) {
      reader_->Read(&event_, this);
    } else {
      reader_->Finish(&status_, this);
    }
    return false;
  }
  const grpc::Status& status() const { return status_; }
  Sample Stop() { return watch_.Stop(); }

 private:
  enum class Step { kStarting, kReading, kFinishing };

  v1::Inference::Stub& stub_;
  grpc::CompletionQueue& queue_;
  const v1::GenerateRequest& request_;
  Step step_ = Step::kStarting;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateEvent>> reader_;
  v1::GenerateEvent event_;
  grpc::Status status_;
  Stopwatch watch_;
};

}  // namespace

absl::StatusOr<std::vector<Sample>> LoadGrpc(const std::string& address,
                                             const LoadOptions& options) {
  const auto stub =
      v1::Inference::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request;
  request.set_model(options.model);
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_content()->set_text(options.prompt);

  grpc::CompletionQueue queue;
  const auto deadline = std::chrono::system_clock::now() + options.timeout;
  int left = options.warm_up + options.requests;
  int running = 0;
  std::vector<std::unique_ptr<GrpcStream>> streams;
  for (int i = 0; i < options.streams && left > 0; ++i, --left, ++running) {
    streams.push_back(std::make_unique<GrpcStream>(*stub, queue, request));
    streams.back()->Start(deadline);
  }
  std::vector<Sample> samples;
  absl::Status failure;
  void* tag = nullptr;
  bool ok = false;
  while (running > 0 && queue.Next(&tag, &ok)) {
    auto* const stream = static_cast<GrpcStream*>(tag);
    if (!stream->Proceed(ok)) continue;
    samples.push_back(stream->Stop());
    if (!stream->status().ok() && failure.ok()) {
      failure = base::Unavailable("Generate: " + stream->status().error_message());
    }
    if (left > 0 && failure.ok()) {
      --left;
      stream->Start(deadline);
    } else {
      --running;
    }
  }
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (!failure.ok()) return failure;
  samples.erase(samples.begin(), samples.begin() + options.warm_up);
  return samples;
}

}  // namespace conclave::bench
