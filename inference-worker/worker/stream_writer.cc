#include "worker/stream_writer.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "worker/generate_stream.h"

namespace conclave::worker {
namespace {

constexpr std::chrono::seconds kIdleWait(60);

}  // namespace

StreamWriter::StreamWriter() : thread_([this](const std::stop_token& stop) { Run(stop); }) {}

StreamWriter::~StreamWriter() = default;

void StreamWriter::Post(std::shared_ptr<GenerateStream> stream) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = streams_.empty();
    streams_.push_back(std::move(stream));
  }
  if (first) posted_.notify_one();
}

void StreamWriter::Run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "stream-writer");
  std::vector<std::shared_ptr<GenerateStream>> streams;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      posted_.wait_for(lock, stop, kIdleWait, [&] { return !streams_.empty(); });
      if (streams_.empty() && stop.stop_requested()) return;
      streams.swap(streams_);
    }
    for (const auto& stream : streams) stream->PumpPosted();
    streams.clear();
  }
}

}  // namespace conclave::worker
