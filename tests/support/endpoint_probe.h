// Every row of every dialect's tables can be sent to its route without a socket.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/dialects/coverage.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {

// "stream_options.include_usage (why)" → its steps; "[]" is the first element.
std::vector<std::string> StepsOf(std::string_view name);

// The body with `value` put where the name leads; what is missing on the way is made. An empty
// value takes the field away.
std::string WithField(const std::string& body, std::string_view name, std::string_view value);

// The endpoint's example with the members a row needs.
std::string BodyFor(const Endpoint& endpoint, const Parameter& row);

// "/v1/threads/{thread}/runs" with something in each place.
std::string TargetOf(std::string_view pattern);
// With the example's model where the path names it.
std::string TargetOf(const Endpoint& endpoint);

// The query that the endpoint needs, but for the parameter `without`: "?id=teacher", or nothing.
std::string QueryOf(const Endpoint& endpoint, std::string_view without = "");

// What names the model of a request: a field of the body, or of the query.
std::string_view ModelField(const Endpoint& endpoint);

// A stream that only the client's going ends, or the server's.
bool IsEndless(const Endpoint& endpoint);

// Models of every kind, and an answer to every call.
void AnswerEverything(Harness& harness);

// All that a request brings about: the answer, and every call it makes.
struct Outcome {
  int status = 0;
  std::string body;
  std::string all;
  size_t model_calls = 0;  // of those, the ones a model answers
  bool operator==(const Outcome& other) const { return all == other.all; }
  bool refused() const { return (status >= 400 && status < 500) || status == 501; }
  // Whether the answer names the field, or what it is in.
  bool Names(std::string_view name) const;
};
Outcome SendTo(const Endpoint& endpoint, const std::string& body, const std::string& query);
Outcome SendTo(const Endpoint& endpoint, const std::string& body);  // with the query it needs
// The endpoint's example, for another model.
Outcome SendFor(const Endpoint& endpoint, const std::string& model);

void ForEachEndpoint(const std::function<void(const Endpoint&)>& visit);

}  // namespace conclave::gateway
