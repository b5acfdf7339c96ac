// The generations of several prompts as one stream, for requests that bring a list of them. A few
// run at a time, the next begins when one ends; the first error ends all, and says whose it is.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <vector>

#include "gateway/upstream/services.h"

namespace conclave::gateway {

// `requests` ask for the same number of answers n. In the events that come, answer k of prompt p
// has the index p·n + k, and PromptLogprobs.prompt is p. One Accepted comes, and no Progress. The
// usage of a Finished counts the prompts begun so far: the largest is that of the whole.
//   executor: where the call is read.
Call<v1::GenerateEvent> JoinGenerations(InferenceUpstream* upstream,
                                        std::vector<v1::GenerateRequest> requests,
                                        base::SteadyTime deadline,
                                        const boost::asio::any_io_executor& executor);

}  // namespace conclave::gateway
