#include "engine/schedule/sequence.h"

namespace conclave::engine {

Sequence::Sequence(GenerateRequest new_request, StoppingCriteria new_stopping)
    : request(std::move(new_request)), stopping(std::move(new_stopping)) {
  tokens.reserve(request.prompt.size() + request.resumed.size() + 16);
  tokens = request.prompt;
  tokens.insert(tokens.end(), request.resumed.begin(), request.resumed.end());
}

}  // namespace conclave::engine
