// The TLS of the connections that are ours and not gRPC's: the same files, HTTP/2 agreed on.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "base/status.h"
#include "mesh/channel.h"

namespace conclave::mesh {

// Null without a ca_file: plain text. INVALID_ARGUMENT: the files cannot be read or are no PEM.
absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> MakeTlsContext(const ClientTls& tls);

}  // namespace conclave::mesh
