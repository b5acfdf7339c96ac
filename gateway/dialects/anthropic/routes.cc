#include "gateway/dialects/anthropic/routes.h"

#include "gateway/dialects/anthropic/errors.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::anthropic {

void AddRoutes(Router& router, const Services& services) {
  for (const char* const path : {"/messages", "/complete"}) {
    router.SetErrorFamily(path, kErrors);
    router.SetErrorFamily("/v1" + std::string(path), kErrors);
  }
  AddMessageRoutes(router, services);
  AddCountTokensRoutes(router, services);
  openai::AddUnserved(router, "/messages/batches", kErrors);
  openai::AddUnserved(router, "/complete", kErrors);  // the text completions of before
}

}  // namespace conclave::gateway::anthropic
