// The routes of the OpenAI dialect, one function for each group. Every route exists with and
// without the /v1 prefix.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::openai {

void AddRoutes(Router& router, const Services& services);

void AddChatRoutes(Router& router, const Services& services);
void AddCompletionRoutes(Router& router, const Services& services);
void AddModelRoutes(Router& router, const Services& services);
void AddEmbeddingRoutes(Router& router, const Services& services);
// All that the router has by then under /v1, at Azure's paths.
void AddAzureRoutes(Router& router);
// Surfaces of OpenAI that we know and do not serve: 501 in the envelope rather than an unknown
// path.
void AddUnservedRoutes(Router& router);

// 501 in the family's form for every method of the path and of all below it, with and without /v1.
void AddUnserved(Router& router, std::string_view path, ErrorFamily errors);

// Adds "/v1<path>" and "<path>".
void AddBoth(Router& router, std::string_view method, std::string_view path, Handler handler,
             RouteOptions options = {});

}  // namespace conclave::gateway::openai
