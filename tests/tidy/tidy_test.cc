// Style as a test: reads the sources and holds them against the link rules of docs/architecture.md
// and the few habits that a compiler does not check. Each complaint names the file and the cure.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = CONCLAVE_SOURCE_DIR;
const std::vector<std::string> kSourceRoots = {"common", "inference-worker", "embedding-worker",
                                               "assistant-store", "gateway"};

struct Source {
  std::string path;  // from the repository root
  std::vector<std::string> lines;
};

std::vector<Source> ReadSources() {
  std::vector<Source> sources;
  for (const std::string& root : kSourceRoots) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / root)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".cu") continue;
      Source source;
      source.path = fs::relative(entry.path(), kRoot).string();
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) source.lines.push_back(line);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

const std::vector<Source>& Sources() {
  static const std::vector<Source> sources = ReadSources();
  return sources;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// The quoted include of a line, or "".
std::string QuotedInclude(const std::string& line) {
  static const std::string kStart = "#include \"";
  if (!StartsWith(line, kStart)) return "";
  const size_t end = line.find('"', kStart.size());
  return end == std::string::npos ? "" : line.substr(kStart.size(), end - kStart.size());
}

// Parts of the tree, as the link table of docs/architecture.md names them.
std::string PartOfFile(const std::string& path) {
  if (StartsWith(path, "common/base/")) return "base";
  if (StartsWith(path, "common/mesh/")) return "mesh";
  if (StartsWith(path, "inference-worker/engine/")) return "engine";
  if (StartsWith(path, "inference-worker/backends/")) return "backends";
  if (StartsWith(path, "inference-worker/worker/")) return "worker";
  if (StartsWith(path, "inference-worker/tools/")) return "tools";
  if (StartsWith(path, "embedding-worker/")) return "embed";
  if (StartsWith(path, "assistant-store/")) return "store";
  if (StartsWith(path, "gateway/")) return "gateway";
  return "";
}

std::string PartOfInclude(const std::string& include) {
  static const std::set<std::string> kParts = {"base",   "mesh",  "engine", "backends",
                                               "worker", "embed", "store",  "gateway"};
  const std::string head = include.substr(0, include.find('/'));
  if (head == "conclave") return "protos";
  return kParts.count(head) ? head : "";
}

const std::map<std::string, std::set<std::string>> kMayUse = {
    {"base", {"base"}},
    {"mesh", {"mesh", "base", "protos"}},
    {"engine", {"engine", "base"}},
    {"backends", {"backends", "engine", "base"}},
    {"worker", {"worker", "backends", "engine", "mesh", "protos", "base"}},
    {"tools", {"engine", "base"}},
    {"embed", {"embed", "engine", "mesh", "protos", "base"}},
    {"store", {"store", "mesh", "protos", "base"}},
    {"gateway", {"gateway", "mesh", "protos", "base"}},
};

// The engine's folders in arrow order: each uses only those before it (and the leaf headers).
const std::vector<std::string> kEngineOrder = {
    "tensor", "quant", "weights", "tokenizer", "kernels",  "kv", "placement",
    "models", "chat",  "grammar", "sample",    "schedule", "run"};

std::string Join(const std::vector<std::string>& lines) {
  std::ostringstream out;
  for (const std::string& line : lines) out << "\n  " << line;
  return out.str();
}

// The folder after engine/, "" for files directly in it.
std::string EngineFolder(const std::string& path_from_engine) {
  const size_t slash = path_from_engine.find('/');
  return slash == std::string::npos ? "" : path_from_engine.substr(0, slash);
}

}  // namespace

TEST_CASE("no part includes what it may not link") {
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    const std::string part = PartOfFile(source.path);
    if (part.empty()) continue;
    for (const std::string& line : source.lines) {
      const std::string used = PartOfInclude(QuotedInclude(line));
      if (!used.empty() && !kMayUse.at(part).count(used)) {
        complaints.push_back(source.path + ": " + line + " (" + part + " may not use " + used +
                             ")");
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("the embedding worker uses the engine up to its models only") {
  const std::set<std::string> lower = {"tensor",  "quant", "weights", "tokenizer",
                                       "kernels", "kv",    "models",  ""};
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    if (PartOfFile(source.path) != "embed") continue;
    for (const std::string& line : source.lines) {
      const std::string include = QuotedInclude(line);
      if (StartsWith(include, "engine/") && !lower.count(EngineFolder(include.substr(7)))) {
        complaints.push_back(source.path + ": " + line);
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("inside the engine a folder uses only those above it") {
  const auto rank = [](const std::string& folder) {
    return std::find(kEngineOrder.begin(), kEngineOrder.end(), folder) - kEngineOrder.begin();
  };
  // Plain structs that every folder may know.
  const std::set<std::string> leaves = {"engine/request.h", "engine/options.h",
                                        "engine/chat/conversation.h"};
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    static const std::string kHead = "inference-worker/engine/";
    if (!StartsWith(source.path, kHead)) continue;
    const std::string folder = EngineFolder(source.path.substr(kHead.size()));
    if (folder.empty()) continue;
    for (const std::string& line : source.lines) {
      const std::string include = QuotedInclude(line);
      if (!StartsWith(include, "engine/") || leaves.count(include)) continue;
      const std::string used = EngineFolder(include.substr(7));
      // engine.h itself belongs to run/, which implements it.
      if (used.empty() ? folder != "run" : rank(used) > rank(folder)) {
        complaints.push_back(source.path + ": " + line);
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("headers are guarded and do not bring in check.h") {
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    if (!StartsWith(fs::path(source.path).extension().string(), ".h")) continue;
    const bool guarded = std::any_of(source.lines.begin(), source.lines.end(),
                                     [](const std::string& l) { return l == "#pragma once"; });
    if (!guarded) complaints.push_back(source.path + ": write #pragma once");
    for (const std::string& line : source.lines) {
      if (QuotedInclude(line) == "base/check.h") {
        complaints.push_back(source.path +
                             ": include base/check.h in the .cc (CHECK is Catch2's too)");
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("banned words have a replacement") {
  const std::map<std::string, std::string> banned = {
      {"std::endl", "write '\\n'"},
      {"std::regex", "PCRE2: std::regex recurses on long input"},
      {"strtok(", "absl::StrSplit"},
      {"sprintf(buf", "snprintf"},
      {"std::rand(", "a seeded generator"},
      {"TODO", "an issue, or do it now"},
      {"FIXME", "an issue, or do it now"},
      {"using namespace std", "spell std::"},
  };
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      for (const auto& [word, cure] : banned) {
        if (source.lines[i].find(word) != std::string::npos) {
          complaints.push_back(source.path + ":" + std::to_string(i + 1) + ": " + word + " → " +
                               cure);
        }
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("Boost.Beast, libpq and yaml-cpp stay where they are wrapped") {
  const auto allowed = [](const std::string& path, const std::string& line) {
    if (line.find("<boost/beast") != std::string::npos) {
      return StartsWith(path, "common/mesh/probe_server") ||
             path == "gateway/http/request_reader.cc" || path == "gateway/http/response_bytes.cc";
    }
    if (line.find("libpq-fe.h") != std::string::npos) {
      return StartsWith(path, "assistant-store/store/db/");
    }
    if (line.find("yaml-cpp") != std::string::npos) return StartsWith(path, "common/base/config");
    return true;
  };
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    for (const std::string& line : source.lines) {
      if (StartsWith(line, "#include") && !allowed(source.path, line)) {
        complaints.push_back(source.path + ": " + line);
      }
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("no file is a mountain") {
  std::vector<std::string> complaints;
  for (const Source& source : Sources()) {
    // Tables that a script writes are not read.
    const bool generated = !source.lines.empty() && StartsWith(source.lines[0], "// Generated by ");
    if (source.lines.size() > 800 && !generated) {
      complaints.push_back(source.path + ": " + std::to_string(source.lines.size()) +
                           " lines; a file that needs chapters is several files");
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}

TEST_CASE("every folder of sources explains itself") {
  std::set<std::string> folders;
  for (const Source& source : Sources()) {
    folders.insert(fs::path(source.path).parent_path().string());
  }
  std::vector<std::string> complaints;
  for (const std::string& folder : folders) {
    // Kernels for one instruction set are explained one level up.
    const bool isa = folder.find("/isa/") != std::string::npos;
    if (!isa && !fs::exists(kRoot / folder / "README.md")) {
      complaints.push_back(folder + ": write a README.md of a few lines");
    }
  }
  INFO(Join(complaints));
  CHECK(complaints.empty());
}
