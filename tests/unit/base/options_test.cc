#include "base/options.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace conclave::base {
namespace {

using std::chrono::milliseconds;

struct Settings {
  std::string listen = "127.0.0.1:1";
  bool verbose = false;
  int threads = 2;
  int64_t body_bytes_max = 32 << 20;
  double ratio = 0.5;
  milliseconds drain{30'000};
  std::vector<std::string> workers = {"a:1"};
  std::string mode = "fast";
  std::string password;
  std::vector<std::string> api_keys;
};

// A set over all types, and the result of one Parse.
struct Fixture {
  Fixture() : options("conclave-test", "A test.") {
    options.Add("listen", &s.listen, "address");
    options.Add("verbose", &s.verbose, "say more");
    options.Add("threads", &s.threads, "how many", 1, 64);
    options.AddBytes("body-bytes-max", &s.body_bytes_max, "largest body", 1024, int64_t{1} << 40);
    options.Add("ratio", &s.ratio, "a part", 0.0, 1.0);
    options.Add("drain", &s.drain, "drain time", milliseconds(0), milliseconds(600'000));
    options.Add("workers", &s.workers, "who works");
    options.AddChoice("mode", &s.mode, {"fast", "exact"}, "how");
    options.AddSecret("password", &s.password, "of the database");
    options.AddSecretList("api-keys", &s.api_keys, "who may call");
  }

  absl::StatusOr<OptionSet::Action> Parse(std::vector<const char*> args) {
    args.insert(args.begin(), "conclave-test");
    return options.Parse(static_cast<int>(args.size()), args.data(), loader);
  }
  std::string Error(std::vector<const char*> args) {
    const auto result = Parse(std::move(args));
    return result.ok() ? "" : std::string(result.status().message());
  }

  Settings s;
  OptionSet options;
  OptionSet::ConfigLoader loader;
};

struct Environment {
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }
  const char* name_;
};

struct TempFile {
  explicit TempFile(const std::string& text) {
    char name[] = "/tmp/conclave_options_XXXXXX";
    const int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    fclose(fdopen(fd, "w"));
    path = name;
    std::ofstream(path) << text;
  }
  ~TempFile() { std::remove(path.c_str()); }
  std::string path;
};

}  // namespace

TEST_CASE("flags set every type of option") {
  Fixture f;
  const auto action = f.Parse({"--listen=0.0.0.0:80", "--verbose", "--threads", "8",
                               "--body-bytes-max=1.5M", "--ratio=0.25", "--drain", "2m",
                               "--workers=b:1, c:2", "--workers", "d:3", "--mode=exact"});
  REQUIRE(action.ok());
  CHECK(*action == OptionSet::Action::kRun);
  CHECK(f.s.listen == "0.0.0.0:80");
  CHECK(f.s.verbose);
  CHECK(f.s.threads == 8);
  CHECK(f.s.body_bytes_max == 3 << 19);
  CHECK(f.s.ratio == 0.25);
  CHECK(f.s.drain == milliseconds(120'000));
  CHECK(f.s.workers == std::vector<std::string>{"b:1", "c:2", "d:3"});
  CHECK(f.s.mode == "exact");
}

TEST_CASE("a bool is switched off by its no- form or by a value") {
  Fixture f;
  f.s.verbose = true;
  REQUIRE(f.Parse({"--no-verbose"}).ok());
  CHECK_FALSE(f.s.verbose);
  REQUIRE(f.Parse({"--verbose=yes"}).ok());
  CHECK(f.s.verbose);
  CHECK(f.Error({"--no-listen"}) == "--no-listen: no such flag (see --help)");
  CHECK(f.Error({"--verbose=maybe"}) == "--verbose: expected true or false, got \"maybe\"");
}

TEST_CASE("the command line wins over the environment, and that over the file") {
  Fixture f;
  f.loader = [](const std::string& path) -> absl::StatusOr<ConfigEntries> {
    CHECK(path == "some.yaml");
    return ConfigEntries{{"threads", {{"3"}, false, 1}},
                         {"ratio", {{"0.75"}, false, 2}},
                         {"listen", {{"file:1"}, false, 3}},
                         {"workers", {{"x:1", "y:2"}, true, 4}}};
  };
  const Environment threads("CONCLAVE_THREADS", "4");
  const Environment listen("CONCLAVE_LISTEN", "environment:1");
  REQUIRE(f.Parse({"--threads=5", "--config=some.yaml"}).ok());
  CHECK(f.s.threads == 5);
  CHECK(f.s.listen == "environment:1");
  CHECK(f.s.ratio == 0.75);
  CHECK(f.s.workers == std::vector<std::string>{"x:1", "y:2"});
  CHECK(f.s.drain == milliseconds(30'000));
  const std::string yaml = f.options.EffectiveYaml();
  CHECK(yaml.find("threads: 5  # command line\n") != std::string::npos);
  CHECK(yaml.find("listen: \"environment:1\"  # environment\n") != std::string::npos);
  CHECK(yaml.find("ratio: 0.75  # file\n") != std::string::npos);
  CHECK(yaml.find("drain: \"30s\"  # default\n") != std::string::npos);
}

TEST_CASE("what is unknown, missing or out of range is refused by name") {
  Fixture f;
  CHECK(f.Error({"--thread=1"}) == "--thread: no such flag (see --help)");
  CHECK(f.Error({"-t"}) == "-t: no such flag (see --help)");
  CHECK(f.Error({"stray"}) == "unexpected argument \"stray\"");
  CHECK(f.Error({"--threads"}) == "--threads: expected a value");
  CHECK(f.Error({"--threads=0"}) == "--threads: 0 is not within 1 … 64");
  CHECK(f.Error({"--threads=4x"}) == "--threads: expected an integer, got \"4x\"");
  CHECK(f.Error({"--threads=99999999999"}) == "--threads: \"99999999999\" is out of range");
  CHECK(f.Error({"--ratio=nan"}) != "");
  CHECK(f.Error({"--drain=5 parsecs"}) ==
        "--drain: expected a duration such as 250ms, 5s, 2m or 1h, got \"5 parsecs\"");
  CHECK(f.Error({"--drain=11m"}) == "--drain: 11m is not within 0s … 10m");
  CHECK(f.Error({"--mode=slow"}) == "--mode: expected one of fast|exact, got \"slow\"");
  CHECK(f.Error({"--config=x.yaml"}) == "--config: conclave-test takes no configuration file");
  f.loader = [](const std::string&) -> absl::StatusOr<ConfigEntries> {
    return ConfigEntries{{"treads", {{"3"}, false, 7}}};
  };
  CHECK(f.Error({"--config=x.yaml"}) == "x.yaml:7: treads: no such option of conclave-test");
  CHECK(f.s.threads == 2);
}

TEST_CASE("a value that is a list is refused where one is expected") {
  Fixture f;
  f.loader = [](const std::string&) -> absl::StatusOr<ConfigEntries> {
    return ConfigEntries{{"threads", {{"3", "4"}, true, 2}}};
  };
  CHECK(f.Error({"--config=x"}) == "x:2: threads: expected one value, got a list");
}

TEST_CASE("secrets come from a file and are never printed") {
  const TempFile password("tiger\n");
  const TempFile keys("# the first team\nkey-one\n\n  key-two  \n");
  Fixture f;
  const std::string a = "--password-file=" + password.path;
  const std::string b = "--api-keys-file=" + keys.path;
  REQUIRE(f.Parse({a.c_str(), b.c_str()}).ok());
  CHECK(f.s.password == "tiger");
  CHECK(f.s.api_keys == std::vector<std::string>{"key-one", "key-two"});
  const std::string yaml = f.options.EffectiveYaml();
  CHECK(yaml.find("tiger") == std::string::npos);
  CHECK(yaml.find("key-one") == std::string::npos);
  CHECK(yaml.find("# password: <redacted>") != std::string::npos);

  Fixture both;
  CHECK(both.Error({a.c_str(), "--password=lion"}) == "password and password-file: give only one");
  Fixture lost;
  CHECK(lost.Error({"--password-file=/nonexistent/secret"}) == "cannot read /nonexistent/secret");
}

TEST_CASE("checks run after all sources and can refuse the whole") {
  Fixture f;
  f.options.AddCheck([&] {
    return f.s.threads == 3 ? InvalidArgument("threads: three is a crowd") : absl::OkStatus();
  });
  CHECK(f.Error({"--threads=3"}) == "threads: three is a crowd");
  CHECK(f.Error({"--threads=4"}) == "");
}

TEST_CASE("help, print-config and check-config are reported to main") {
  Fixture f;
  CHECK(*f.Parse({"--help", "--nonsense-is-not-reached=1"}).status().message().data() != '\0');
  CHECK(*f.Parse({"--help"}) == OptionSet::Action::kHelp);
  CHECK(*f.Parse({"--print-config"}) == OptionSet::Action::kPrintConfig);
  CHECK(*f.Parse({"--check-config"}) == OptionSet::Action::kCheckConfig);
  CHECK(f.Error({"--check-config", "--threads=0"}) != "");
  const std::string help = f.options.Help();
  CHECK(help.find("--drain <duration>\n      drain time [default: 30s]") != std::string::npos);
  CHECK(help.find("--mode <fast|exact>") != std::string::npos);
}

TEST_CASE("positional arguments go where a tool takes them") {
  Fixture f;
  std::vector<std::string> rest;
  const char* args[] = {"tool", "model.gguf", "--threads=3", "--", "--odd-name"};
  REQUIRE(f.options.Parse(5, args, {}, &rest).ok());
  CHECK(rest == std::vector<std::string>{"model.gguf", "--odd-name"});
}

TEST_CASE("sizes and durations read as written") {
  CHECK(*ParseBytes("512") == 512);
  CHECK(*ParseBytes("64K") == 65536);
  CHECK(*ParseBytes("1MiB") == 1 << 20);
  CHECK(*ParseBytes("2GB") == int64_t{2} << 30);
  CHECK_FALSE(ParseBytes("").ok());
  CHECK_FALSE(ParseBytes("K").ok());
  CHECK_FALSE(ParseBytes("1X").ok());
  CHECK_FALSE(ParseBytes("-1").ok());
  CHECK(*ParseDuration("250") == milliseconds(250));
  CHECK(*ParseDuration("1.5s") == milliseconds(1500));
  CHECK(*ParseDuration("2h") == milliseconds(7'200'000));
  CHECK_FALSE(ParseDuration("s").ok());
  CHECK_FALSE(ParseDuration("-1s").ok());
  CHECK_FALSE(ParseDuration("1e400").ok());
  CHECK(FormatDuration(milliseconds(90'000)) == "90s");
  CHECK(FormatDuration(milliseconds(0)) == "0s");
}

}  // namespace conclave::base
