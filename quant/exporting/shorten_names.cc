#include "quant/exporting/shorten_names.h"

#include <map>
#include <set>
#include <string>
#include <utility>

namespace pactory::quant {
namespace {

// 0 -> a, 25 -> z, 26 -> aa, as columns of a sheet.
std::string ShortName(int64_t number) {
  std::string name;
  for (int64_t rest = number + 1; rest > 0; rest = (rest - 1) / 26) {
    name.insert(name.begin(), static_cast<char>('a' + (rest - 1) % 26));
  }
  return name;
}

class Renamer {
 public:
  explicit Renamer(std::set<std::string> taken) : taken_(std::move(taken)) {}

  const std::string& operator()(const std::string& name) {
    if (name.empty() || taken_.contains(name)) return name;
    const auto [entry, is_new] = names_.emplace(name, "");
    if (is_new) {
      do {
        entry->second = ShortName(next_++);
      } while (taken_.contains(entry->second));
    }
    return entry->second;
  }

 private:
  const std::set<std::string> taken_;
  std::map<std::string, std::string> names_;
  int64_t next_ = 0;
};

}  // namespace

void ShortenNames(Graph& graph) {
  std::set<std::string> kept;
  for (const ValueInfo& input : graph.inputs) kept.insert(input.name);
  for (const ValueInfo& output : graph.outputs) kept.insert(output.name);
  Renamer rename(std::move(kept));
  int64_t number = 0;
  for (Node& node : graph.nodes) {
    node.name = ShortName(number++);
    for (std::string& input : node.inputs) input = rename(input);
    for (std::string& output : node.outputs) output = rename(output);
  }
  std::map<std::string, at::Tensor> initializers;
  for (auto& [name, tensor] : graph.initializers) initializers.emplace(rename(name), std::move(tensor));
  graph.initializers = std::move(initializers);
}

}  // namespace pactory::quant
