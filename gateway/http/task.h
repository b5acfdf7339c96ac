// Handlers are coroutines on the loop of their connection. The one Asio header that route files
// see.
#pragma once

#include <boost/asio/awaitable.hpp>

namespace conclave::gateway {

template <typename T>
using Task = boost::asio::awaitable<T>;

}  // namespace conclave::gateway
