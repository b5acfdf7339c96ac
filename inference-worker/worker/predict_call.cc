#include "worker/predict_call.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "mesh/grpc_status.h"
#include "worker/use_options.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

std::string LiveId(const pb::PredictRequest& request) {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat(request.meta().request_id().substr(0, 128), "#p", ++counter);
}

}  // namespace

PredictCall::PredictCall(ModelHost* host, grpc::CallbackServerContext* context,
                         const pb::PredictRequest* request, pb::PredictReply* reply,
                         std::optional<base::Gate::Pass> pass)
    : host_(host),
      context_(context),
      request_(request),
      reply_(reply),
      arrived_(base::Clock::System().Now()),
      id_(LiveId(*request)),
      pass_(std::move(pass)) {}

void PredictCall::Run() {
  const uint64_t use = host_->Use(request_->model(), UseOptionsOf(request_->meta(), *context_),
                                  [self = shared_from_this()](absl::StatusOr<ModelLease> lease) {
                                    const absl::Status status = self->Submit(std::move(lease));
                                    if (!status.ok()) self->Refuse(status);
                                  });
  if (use == 0) return;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    use_ = use;
    cancelled = cancelled_;
  }
  if (cancelled) host_->CancelUse(use);
}

absl::Status PredictCall::Submit(absl::StatusOr<ModelLease> got) {
  ASSIGN_OR_RETURN(ModelLease lease, std::move(got));
  RETURN_IF_ERROR(
      base::Annotate(base::JsonDocument::Parse(request_->body_json()).status(), "body"));
  const std::string& method = request_->method();
  if (!method.empty() && method != "GET" && method != "POST") {
    return base::InvalidArgument("method: expected GET or POST");
  }
  backends::Backend& backend = lease.backend();
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return absl::CancelledError("the caller has gone");
    lease_ = std::move(lease);
  }
  backend.Predict({.id = id_, .body = request_->body_json(), .method = method},
                  [self = shared_from_this()](absl::StatusOr<std::string> body) {
                    self->End(std::move(body));
                  });
  {
    const std::lock_guard lock(mutex_);
    submitted_ = true;
    cancelled = cancelled_;
  }
  if (cancelled) backend.Cancel(id_);
  return absl::OkStatus();
}

void PredictCall::End(absl::StatusOr<std::string> body) {
  const double ms = base::MillisBetween(arrived_, base::Clock::System().Now());
  const bool good = body.ok();
  lease_->model().log->Add(good ? base::LogLevel::kInfo : base::LogLevel::kWarning, "predict",
                           {{"request", request_->meta().request_id()},
                            {"code", absl::StatusCodeToString(body.status().code())},
                            {"request_bytes", request_->body_json().size()},
                            {"reply_bytes", good ? body->size() : 0},
                            {"ms", ms}});
  if (good) reply_->set_body_json(*std::move(body));
  Finish(mesh::ToGrpc(good ? absl::OkStatus() : body.status(), context_));
}

void PredictCall::Refuse(const absl::Status& status) { Finish(mesh::ToGrpc(status, context_)); }

// The lease stays until the call is destroyed, so the backend is there even if it has just
// answered; it ignores ids it does not know.
void PredictCall::OnCancel() {
  bool cancel = false;
  uint64_t use = 0;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    cancel = submitted_;
    use = use_;
  }
  if (use != 0) host_->CancelUse(use);
  if (cancel) lease_->backend().Cancel(id_);
}

void PredictCall::OnDone() {
  std::shared_ptr<PredictCall> self;
  const std::lock_guard lock(mutex_);
  pass_.reset();
  self = std::move(self_);
}

}  // namespace conclave::worker
