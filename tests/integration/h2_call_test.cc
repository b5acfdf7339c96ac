// The connections of streams, against a real server of gRPC's and against peers that are none.
#include "mesh/h2_call.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "conclave/v1/inference.grpc.pb.h"
#include "mesh/grpc_status.h"
#include "mesh/h2_connection.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;
using std::chrono::seconds;
using tcp = boost::asio::ip::tcp;

constexpr milliseconds kPatience = seconds(20);

base::SteadyTime In(milliseconds time) { return std::chrono::steady_clock::now() + time; }

// Reads to the end, or as far as it was told.
class Reader final : public H2Call {
 public:
  explicit Reader(std::shared_ptr<base::EventLoop> loop, int reads = 1'000'000)
      : H2Call(std::move(loop)), reads_left_(reads) {}

  void Begin(std::shared_ptr<H2Link> link, const pb::GenerateRequest& request,
             base::SteadyTime deadline = In(kPatience)) {
    StartCall(std::move(link),
              {.path = "/conclave.v1.Inference/Generate", .message = request.SerializeAsString()},
              deadline);
    if (reads_left_-- > 0) Read();
  }
  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return done_.has_value(); })) {
      return absl::InternalError("the test waited too long");
    }
    return *done_;
  }
  bool WaitFor(size_t messages) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return texts_.size() >= messages; });
  }
  std::vector<std::string> texts() {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  bool OnMessage(std::string_view bytes) override {
    pb::GenerateEvent event;
    if (!event.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
    {
      const std::lock_guard lock(mutex_);
      texts_.push_back(event.delta().text());
    }
    changed_.notify_all();
    if (reads_left_-- > 0) {
      Read();
    } else {
      Release();
    }
    return true;
  }
  void OnNoMessage() override { Release(); }
  void OnDone(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    CHECK(!done_.has_value());
    done_ = status;
    changed_.notify_all();
  }

  std::atomic<int> reads_left_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  std::optional<absl::Status> done_;
};

// max_tokens replies of text "0", "1", …, each as long as min_tokens says; then, with ignore_eos,
// empty ones for ever.
class Counting final : public pb::Inference::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* context, const pb::GenerateRequest* request,
                        grpc::ServerWriter<pb::GenerateEvent>* writer) override {
    const auto length = static_cast<size_t>(request->stop().min_tokens());
    for (int i = 0; i < request->stop().max_tokens(); ++i) {
      pb::GenerateEvent event;
      std::string text = std::to_string(i);
      if (text.size() < length) text.resize(length, '.');
      event.mutable_delta()->set_text(text);
      if (!writer->Write(event)) break;
      ++written;
    }
    while (request->stop().ignore_eos() && writer->Write(pb::GenerateEvent())) {
    }
    if (context->IsCancelled()) {
      cancelled = true;
      return grpc::Status::CANCELLED;
    }
    if (request->model() == "good") return grpc::Status::OK;
    return ToGrpc(base::WithParam(base::NotFound("no \"such\" model: ä"), "model"), context);
  }

  std::atomic<int> written{0};
  std::atomic<bool> cancelled{false};
};

struct Served {
  explicit Served(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
    REQUIRE(server != nullptr);
  }
  ~Served() { server->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }

  Counting service;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

pb::GenerateRequest Ask(int replies, const std::string& model = "good", int length = 1) {
  pb::GenerateRequest request;
  request.set_model(model);
  request.mutable_stop()->set_max_tokens(replies);
  request.mutable_stop()->set_min_tokens(length);
  return request;
}

struct Caller {
  explicit Caller(const std::string& address, const ClientTls& tls = {}) {
    auto made = H2Link::Make(address, tls);
    REQUIRE(made.ok());
    link = *std::move(made);
  }
  std::shared_ptr<Reader> Call(const pb::GenerateRequest& request, int reads = 1'000'000,
                               base::SteadyTime deadline = In(kPatience)) {
    auto reader = std::make_shared<Reader>(loops.at(0), reads);
    reader->Begin(link, request, deadline);
    return reader;
  }
  base::EventLoops loops{1, "test"};
  std::shared_ptr<H2Link> link;
};

// Takes one connection and does with it what the test says.
class RawPeer final {
 public:
  explicit RawPeer(std::function<void(tcp::socket&)> serve)
      : acceptor_(io_, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)),
        thread_([this, serve = std::move(serve)] {
          tcp::socket socket(io_);
          boost::system::error_code error;
          acceptor_.accept(socket, error);
          if (!error) serve(socket);
        }) {}
  std::string address() const {
    return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }

 private:
  boost::asio::io_context io_;
  tcp::acceptor acceptor_;
  std::jthread thread_;
};

void ReadToEnd(tcp::socket& socket) {
  char buffer[4096];
  boost::system::error_code error;
  while (!error) socket.read_some(boost::asio::buffer(buffer), error);
}

// A certificate for 127.0.0.1, signed by itself.
struct Certificate {
  Certificate() {
    EVP_PKEY* const pkey = EVP_EC_gen("P-256");
    X509* const x509 = X509_new();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, pkey);
    X509_NAME* const name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("worker"), -1, -1, 0);
    X509_set_issuer_name(x509, name);
    for (const auto& [nid, value] : {std::pair{NID_subject_alt_name, "IP:127.0.0.1,DNS:worker"},
                                     std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
      X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
      X509_add_ext(x509, extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(x509, pkey, EVP_sha256());
    BIO* const bio = BIO_new(BIO_s_mem());
    const auto take = [bio] {
      char* data = nullptr;
      const long size = BIO_get_mem_data(bio, &data);
      std::string text(data, static_cast<size_t>(size));
      BIO_reset(bio);
      return text;
    };
    PEM_write_bio_X509(bio, x509);
    cert = take();
    PEM_write_bio_PrivateKey(bio, pkey, nullptr, nullptr, 0, nullptr, nullptr);
    key = take();
    BIO_free(bio);
    X509_free(x509);
    EVP_PKEY_free(pkey);

    folder = std::filesystem::temp_directory_path() / ("h2_call_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "cert.pem") << cert;
    std::ofstream(folder / "key.pem") << key;
  }
  ~Certificate() { std::filesystem::remove_all(folder); }

  std::string cert, key;
  std::filesystem::path folder;
};

TEST_CASE("replies come in order, then the status with its details") {
  Served served;
  Caller caller(served.address());
  const auto good = caller.Call(Ask(1000));
  const auto bad = caller.Call(Ask(3, "unknown"));
  CHECK(good->Wait().ok());
  const std::vector<std::string> texts = good->texts();
  REQUIRE(texts.size() == 1000);
  for (size_t i = 0; i < texts.size(); ++i) REQUIRE(texts[i] == std::to_string(i));
  const absl::Status status = bad->Wait();
  CHECK(absl::IsNotFound(status));
  CHECK(std::string(status.message()) == "no \"such\" model: ä");
  CHECK(base::ParamOf(status) == "model");
  CHECK(bad->texts().size() == 3);
}

TEST_CASE("a reply larger than every window comes whole") {
  Served served;
  Caller caller(served.address());
  const auto reader = caller.Call(Ask(3, "good", 2'000'000));
  CHECK(reader->Wait().ok());
  REQUIRE(reader->texts().size() == 3);
  CHECK(reader->texts()[2].size() == 2'000'000);
}

TEST_CASE("who does not read stops the writer, who reads on is not held up by it") {
  Served served;
  Caller caller(served.address());
  auto request = Ask(100'000, "good", 100);
  const auto idle = std::make_shared<Reader>(caller.loops.at(0), 1);
  idle->Begin(caller.link, request);
  REQUIRE(idle->WaitFor(1));
  const auto busy = caller.Call(Ask(2000));
  CHECK(busy->Wait().ok());
  // The window's 64 KB, and as much again in the server's own buffers.
  CHECK(served.service.written < 2000 + 2000);
  idle->Cancel();
  CHECK(absl::IsCancelled(idle->Wait()));
}

TEST_CASE("cancelling and the deadline reach the server") {
  Served served;
  Caller caller(served.address());
  auto request = Ask(1);
  request.mutable_stop()->set_ignore_eos(true);
  const auto cancelled = caller.Call(request);
  REQUIRE(cancelled->WaitFor(1));
  cancelled->Cancel();
  CHECK(absl::IsCancelled(cancelled->Wait()));
  const auto late = caller.Call(request, 1'000'000, In(milliseconds(50)));
  CHECK(absl::IsDeadlineExceeded(late->Wait()));
  const auto too_late = caller.Call(request, 1'000'000, In(milliseconds(-1)));
  CHECK(absl::IsDeadlineExceeded(too_late->Wait()));
  served.server->Shutdown(std::chrono::system_clock::now());
  CHECK(served.service.cancelled);
}

TEST_CASE("a server that is gone is told at once, and met again when it is back") {
  auto served = std::make_unique<Served>();
  const int port = served->port;
  Caller caller(served->address());
  auto request = Ask(1);
  request.mutable_stop()->set_ignore_eos(true);
  const auto cut = caller.Call(request);
  REQUIRE(cut->WaitFor(1));
  served.reset();
  CHECK(!cut->Wait().ok());
  CHECK(absl::IsUnavailable(caller.Call(Ask(1))->Wait()));

  Counting service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto again = builder.BuildAndStart();
  REQUIRE(again != nullptr);
  CHECK(caller.Call(Ask(1))->Wait().ok());
  again->Shutdown(std::chrono::system_clock::now());
}

TEST_CASE("many calls from several threads on several loops") {
  Served served;
  auto link = *H2Link::Make(served.address(), {});
  base::EventLoops loops(3, "test");
  std::vector<std::jthread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto reader = std::make_shared<Reader>(loops.at(static_cast<size_t>(t + i) % 3));
        reader->Begin(link, Ask(20));
        if (i % 5 == 4) reader->Cancel();
        const absl::Status status = reader->Wait();
        if (status.ok() && reader->texts().size() == 20) ++good;
        if (i % 5 == 4 && absl::IsCancelled(status)) ++good;
      }
    });
  }
  threads.clear();
  CHECK(good == 200);
  link.reset();
}

TEST_CASE("peers that break off, answer another protocol or say nothing end the call") {
  const auto outcome = [](std::function<void(tcp::socket&)> serve, milliseconds time) {
    RawPeer peer(std::move(serve));
    Caller caller(peer.address());
    return caller.Call(Ask(1), 1'000'000, In(time))->Wait();
  };
  CHECK(absl::IsUnavailable(outcome([](tcp::socket&) {}, kPatience)));
  CHECK(absl::IsUnavailable(outcome(
      [](tcp::socket& socket) {
        boost::asio::write(socket, boost::asio::buffer("HTTP/1.1 400 Bad Request\r\n\r\n", 28));
        ReadToEnd(socket);
      },
      kPatience)));
  CHECK(absl::IsUnavailable(outcome(
      [](tcp::socket& socket) {
        const std::string noise(10'000, '\xfe');
        boost::asio::write(socket, boost::asio::buffer(noise));
        ReadToEnd(socket);
      },
      kPatience)));
  CHECK(absl::IsDeadlineExceeded(outcome(ReadToEnd, milliseconds(100))));
}

TEST_CASE("TLS: the server's certificate must fit, and the client shows its own") {
  Certificate certificate;
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = certificate.cert;
  options.pem_key_cert_pairs.push_back({certificate.key, certificate.cert});
  Served served(grpc::SslServerCredentials(options));
  const std::string cert = certificate.folder / "cert.pem";
  const std::string key = certificate.folder / "key.pem";

  Caller mutual(served.address(), {.ca_file = cert, .cert_file = cert, .key_file = key});
  const auto reader = mutual.Call(Ask(100, "good", 1000));
  CHECK(reader->Wait().ok());
  CHECK(reader->texts().size() == 100);
  Caller named(served.address(),
               {.ca_file = cert, .cert_file = cert, .key_file = key, .server_name = "worker"});
  CHECK(named.Call(Ask(1))->Wait().ok());

  Caller other(served.address(),
               {.ca_file = cert, .cert_file = cert, .key_file = key, .server_name = "else"});
  CHECK(absl::IsUnavailable(other.Call(Ask(1))->Wait()));
  Caller nobody(served.address(), {.ca_file = cert});
  CHECK(absl::IsUnavailable(nobody.Call(Ask(1))->Wait()));
  Caller plain(served.address());
  CHECK(absl::IsUnavailable(plain.Call(Ask(1))->Wait()));
  CHECK(absl::IsInvalidArgument(
      H2Link::Make(served.address(), {.ca_file = "/nonexistent.pem"}).status()));
  CHECK(absl::IsInvalidArgument(H2Link::Make(served.address(), {.ca_file = key}).status()));
}

}  // namespace
}  // namespace conclave::mesh
