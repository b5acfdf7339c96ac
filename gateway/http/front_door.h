// Policy in front of the routes: which requests come in at all, in the order cheap to dear, and
// what is said of each in metrics and log.
#pragma once

#include "base/ids.h"
#include "gateway/http/filters.h"
#include "gateway/http/front_metrics.h"
#include "gateway/http/http_server.h"
#include "gateway/http/router.h"

namespace conclave::gateway {

class FrontDoor final : public HttpHandler {
 public:
  // The pointers are borrowed and must outlive the door. `new_id` names requests that bring no
  // X-Request-Id. `profile` is for requests whose key has none of its own.
  FrontDoor(const Router* router, const Filters* filters, FrontMetrics* metrics,
            base::IdSource new_id = base::NewId, CompatProfile profile = CompatProfile::kStrict);

  HeadVerdict OnHead(const RequestHead& head) override;
  Response OnBodyRefused(const RequestHead& head, const std::string& request_id, int status,
                         std::string_view reason) override;
  Response OnHeadRefused(const HeadRefusal& refusal) override;
  Task<void> Handle(Request& request, ResponseWriter& out, AccessRecord& record) override;
  void OnFinished(const RequestHead& head, const AccessRecord& record, CancelReason cancelled,
                  std::chrono::nanoseconds took) override;

 private:
  std::optional<Response> RefuseHead(const RequestHead& head, const Router::Match& match,
                                     const std::string& request_id);
  CompatProfile ProfileOf(const RequestHead& head) const;
  Response Preflight(const RequestHead& head, const Router::Match& match) const;

  const Router& router_;
  const Filters& filters_;
  FrontMetrics& metrics_;
  const base::IdSource new_id_;
  const CompatProfile profile_;
};

}  // namespace conclave::gateway
