// The routes of the Ollama dialect, one function for each group.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::ollama {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

void AddChatRoutes(Router& router, const Services& services);
void AddGenerateRoutes(Router& router, const Services& services);
void AddEmbedRoutes(Router& router, const Services& services);
void AddModelRoutes(Router& router, const Services& services);
void AddCreateRoutes(Router& router, const Services& services);
void AddBlobRoutes(Router& router, const Services& services);
void AddPullRoutes(Router& router, const Services& services);

// Ollama's clients send no Content-Type, or text/plain.
RouteOptions AnyContentType();

}  // namespace conclave::gateway::ollama
