#include "mesh/tls_context.h"

#include <openssl/ssl.h>

#include <array>

namespace conclave::mesh {

namespace ssl = boost::asio::ssl;

absl::StatusOr<std::shared_ptr<ssl::context>> MakeTlsContext(const ClientTls& tls) {
  ASSIGN_OR_RETURN(const ClientPem pem, ReadPem(tls));
  if (tls.ca_file.empty()) return std::shared_ptr<ssl::context>();
  const auto buffer = [](const std::string& text) { return boost::asio::buffer(text); };
  auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
  boost::system::error_code error;
  context->add_certificate_authority(buffer(pem.roots), error);
  if (error) return base::InvalidArgument("mesh-tls-ca-file: " + error.message());
  if (!pem.chain.empty()) context->use_certificate_chain(buffer(pem.chain), error);
  if (error) return base::InvalidArgument("mesh-tls-cert-file: " + error.message());
  if (!pem.key.empty()) context->use_private_key(buffer(pem.key), ssl::context::pem, error);
  if (error) return base::InvalidArgument("mesh-tls-key-file: " + error.message());
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  constexpr std::array<unsigned char, 3> kH2 = {2, 'h', '2'};
  if (SSL_CTX_set_alpn_protos(context->native_handle(), kH2.data(), kH2.size()) != 0) {
    return base::Internal("TLS without ALPN");
  }
  return context;
}

}  // namespace conclave::mesh
