// A whole gateway for one golden exchange: every dialect's routes behind the real front door and
// listener, real mesh clients to a worker with the scripted backend in this process. Embeddings and
// the store answer from the case. Ids count, the clock stands still, and what a worker measures is
// replaced, so that equal requests give equal bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/json.h"
#include "gateway/http/router.h"

namespace conclave::gateway {

class DialectGateway final {
 public:
  // `setup` is the object of a request file; tests/golden/dialects/README.md has its fields. Fails
  // the test when one of them is wrong.
  explicit DialectGateway(base::JsonValue setup);
  ~DialectGateway();

  uint16_t port() const;
  const Router& router() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::gateway
