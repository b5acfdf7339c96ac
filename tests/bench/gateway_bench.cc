// conclave-gateway-bench: streams of one chat request against a gateway, or straight at its worker.
//
//   conclave-gateway-bench --http 127.0.0.1:8080 --streams 32 --requests 500 --pids 4711
//   conclave-gateway-bench --grpc 127.0.0.1:8090 --streams 32 --requests 500
//
// Prints one JSON object: milliseconds to the first piece and of the whole answer, pieces per
// second, and the processor time of the processes asked for, in microseconds per piece.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "bench/load.h"

namespace conclave::bench {
namespace {

struct Options {
  std::string http;
  std::string grpc;
  std::vector<std::string> pids;
  LoadOptions load;
};

// Processor time of all threads of a process, in seconds, by the scheduler's own count
// (Documentation/scheduler/sched-stats.rst): nanoseconds, where /proc/PID/stat has ticks.
absl::StatusOr<double> ProcessorSeconds(const std::string& pid) {
  double seconds = 0;
  bool any = false;
  // Threads come and go; those of a server under load stay.
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", error)) {
    std::ifstream file(task.path() / "schedstat");
    double nanoseconds = 0;
    if (!(file >> nanoseconds)) continue;
    seconds += nanoseconds * 1e-9;
    any = true;
  }
  if (!any) return base::NotFound("pids: no process " + pid);
  return seconds;
}

double Percentile(std::vector<double> values, double share) {
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at), values.end());
  return values[at];
}

void WriteTimes(base::JsonWriter& json, std::string_view name, std::vector<double> ms) {
  json.Key(name);
  json.BeginObject();
  json.Field("p50", Percentile(ms, 0.5));
  json.Field("p99", Percentile(std::move(ms), 0.99));
  json.EndObject();
}

absl::Status Run(const Options& options) {
  std::vector<double> before;
  for (const std::string& pid : options.pids) {
    ASSIGN_OR_RETURN(before.emplace_back(), ProcessorSeconds(pid));
  }
  const auto started = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::vector<Sample> samples, options.grpc.empty()
                                                          ? LoadHttp(options.http, options.load)
                                                          : LoadGrpc(options.grpc, options.load));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  std::vector<double> first;
  std::vector<double> whole;
  int64_t pieces = 0;
  for (const Sample& sample : samples) {
    first.push_back(sample.first_ms);
    whole.push_back(sample.whole_ms);
    pieces += sample.pieces;
  }
  // The warm-up is in the time of the processes too.
  const double all_pieces = static_cast<double>(pieces) *
                            static_cast<double>(options.load.requests + options.load.warm_up) /
                            static_cast<double>(options.load.requests);
  base::JsonWriter json;
  json.BeginObject();
  json.Field("streams", options.load.streams);
  json.Field("requests", options.load.requests);
  json.Field("pieces", pieces);
  json.Field("pieces_per_second", all_pieces / seconds);
  WriteTimes(json, "first_ms", std::move(first));
  WriteTimes(json, "whole_ms", std::move(whole));
  json.Key("cpu_us_per_piece");
  json.BeginArray();
  for (size_t i = 0; i < options.pids.size(); ++i) {
    ASSIGN_OR_RETURN(const double after, ProcessorSeconds(options.pids[i]));
    json.Double((after - before[i]) * 1e6 / all_pieces);
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.Take().c_str());
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  o.load.prompt = "Say what the script says.";
  base::OptionSet options("conclave-gateway-bench", "Streams one chat request over and over.");
  options.Add("http", &o.http, "host:port of an OpenAI API");
  options.Add("grpc", &o.grpc, "host:port of an inference worker");
  options.Add("pids", &o.pids, "processes whose processor time counts, with commas");
  options.Add("model", &o.load.model, "name of the model");
  options.Add("prompt", &o.load.prompt, "the one user message");
  options.Add("api-key", &o.load.api_key, "for --http");
  options.Add("streams", &o.load.streams, "at once", 1, 10'000);
  options.Add("requests", &o.load.requests, "in all", 1, 1'000'000);
  options.Add("warm-up", &o.load.warm_up, "requests before", 0, 1'000'000);
  options.AddCheck([&]() -> absl::Status {
    if (o.http.empty() != o.grpc.empty()) return absl::OkStatus();
    return base::InvalidArgument("one of --http and --grpc");
  });
  const auto action = options.Parse(argc, argv, {});
  if (!action.ok()) {
    std::fprintf(stderr, "%s\n", std::string(action.status().message()).c_str());
    return 2;
  }
  if (*action != base::OptionSet::Action::kRun) {
    std::fputs(options.Help().c_str(), stdout);
    return 0;
  }
  const absl::Status status = Run(o);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace conclave::bench

int main(int argc, char** argv) { return conclave::bench::Main(argc, argv); }
