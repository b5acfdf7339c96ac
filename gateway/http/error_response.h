// An error as a whole answer: the family's status and body, and the headers that go with them.
#pragma once

#include "gateway/http/response.h"
#include "gateway/http/router.h"
#include "gateway/http/status_map.h"

namespace conclave::gateway {

// 429 and 503 carry Retry-After and retry-after-ms; 401 WWW-Authenticate; what a retry cannot help
// (500, 501) carries "x-should-retry: false", which the OpenAI SDKs obey.
Response MakeErrorResponse(const ErrorInfo& error, const ErrorFamily& family);

}  // namespace conclave::gateway
