#include "gateway/http/router.h"

#include <algorithm>
#include <optional>

#include "base/check.h"

namespace conclave::gateway {
namespace {

struct Entry {
  Route route;
  std::vector<std::string> param_names;
};

using MethodTable = std::map<std::string, Entry, std::less<>>;

std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> segments;
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  if (!path.empty() && path.back() == '/') path.remove_suffix(1);
  while (!path.empty()) {
    const size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return segments;
}

bool IsParam(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}
bool IsGreedy(std::string_view segment) {
  return IsParam(segment) && segment.size() > 5 && segment.substr(segment.size() - 4) == "...}";
}

const Entry* FindMethod(const MethodTable& table, std::string_view method) {
  auto found = table.find(method);
  if (found == table.end() && method == "HEAD") found = table.find("GET");
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace

struct Router::Node {
  std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
  std::unique_ptr<Node> param;
  MethodTable here;
  MethodTable greedy;

  // Calls visit(table, values) for every table the path leads to, best first, until it says stop.
  template <typename Visit>
  bool Walk(const std::vector<std::string_view>& segments, size_t i,
            std::vector<std::string>* values, Visit& visit) const {
    if (i == segments.size()) return !here.empty() && visit(here, *values);
    const auto literal = literals.find(segments[i]);
    if (literal != literals.end() && literal->second->Walk(segments, i + 1, values, visit)) {
      return true;
    }
    if (param && !segments[i].empty()) {
      values->emplace_back(segments[i]);
      if (param->Walk(segments, i + 1, values, visit)) return true;
      values->pop_back();
    }
    if (greedy.empty()) return false;
    const char* begin = segments[i].data();
    const char* end = segments.back().data() + segments.back().size();
    values->emplace_back(begin, end);
    const bool stop = visit(greedy, *values);
    values->pop_back();
    return stop;
  }

  void Collect(std::vector<const Route*>* out) const {
    for (const auto& [method, entry] : here) out->push_back(&entry.route);
    for (const auto& [method, entry] : greedy) out->push_back(&entry.route);
    for (const auto& [text, node] : literals) node->Collect(out);
    if (param) param->Collect(out);
  }
};

Router::Router() : root_(std::make_unique<Node>()) {}
Router::~Router() = default;

void Router::Add(std::string_view method, std::string_view pattern, Handler handler,
                 RouteOptions options) {
  Entry entry{{std::string(method), std::string(pattern), std::move(handler), options}, {}};
  Node* node = root_.get();
  MethodTable* table = nullptr;
  for (const std::string_view segment : Segments(pattern)) {
    CHECK(table == nullptr);  // nothing may follow a greedy parameter
    if (IsGreedy(segment)) {
      entry.param_names.emplace_back(segment.substr(1, segment.size() - 5));
      table = &node->greedy;
    } else if (IsParam(segment)) {
      entry.param_names.emplace_back(segment.substr(1, segment.size() - 2));
      if (!node->param) node->param = std::make_unique<Node>();
      node = node->param.get();
    } else {
      auto& child = node->literals[std::string(segment)];
      if (!child) child = std::make_unique<Node>();
      node = child.get();
    }
  }
  if (table == nullptr) table = &node->here;
  const bool fresh = table->emplace(std::string(method), std::move(entry)).second;
  CHECK(fresh);
}

void Router::SetErrorFamily(std::string prefix, ErrorFamily family) {
  families_.insert_or_assign(std::move(prefix), family);
}

void Router::SetErrorFamilyOf(std::string method, std::string path, ErrorFamily family) {
  families_of_methods_.insert_or_assign({std::move(method), std::move(path)}, family);
}

const ErrorFamily& Router::error_family(std::string_view method, std::string_view path) const {
  const bool slash = path.size() > 1 && path.back() == '/';
  const auto own = families_of_methods_.find(
      {std::string(method), std::string(path.substr(0, path.size() - (slash ? 1 : 0)))});
  if (own != families_of_methods_.end()) return own->second;
  const ErrorFamily* best = nullptr;
  size_t best_size = 0;
  for (const auto& [prefix, family] : families_) {
    const bool fits =
        path.substr(0, prefix.size()) == prefix &&
        (prefix.empty() || path.size() == prefix.size() || path[prefix.size()] == '/');
    if (fits && (best == nullptr || prefix.size() >= best_size)) {
      best = &family;
      best_size = prefix.size();
    }
  }
  CHECK(best != nullptr);
  return *best;
}

Router::Match Router::Find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::string> values;
  const std::vector<std::string_view> segments = Segments(path);
  auto visit = [&](const MethodTable& table, const std::vector<std::string>& found) {
    const Entry* entry = FindMethod(table, method);
    if (entry == nullptr) {
      for (const auto& [name, other] : table) match.allowed.push_back(name);
      return false;
    }
    match.route = &entry->route;
    for (size_t i = 0; i < found.size(); ++i) {
      auto value = PercentDecode(found[i], /*plus_is_blank=*/false);
      match.bad_escape = match.bad_escape || !value;
      match.params.emplace_back(entry->param_names[i], value.value_or(std::string()));
    }
    return true;
  };
  root_->Walk(segments, 0, &values, visit);
  if (match.route != nullptr) match.allowed.clear();
  std::sort(match.allowed.begin(), match.allowed.end());
  match.allowed.erase(std::unique(match.allowed.begin(), match.allowed.end()), match.allowed.end());
  return match;
}

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> all;
  root_->Collect(&all);
  std::sort(all.begin(), all.end(), [](const Route* a, const Route* b) {
    return std::pair(a->pattern, a->method) < std::pair(b->pattern, b->method);
  });
  return all;
}

}  // namespace conclave::gateway
