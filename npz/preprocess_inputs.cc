#include "npz/preprocess_inputs.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "npz/dataset_layout.h"

namespace pactory {
absl::StatusOr<std::set<std::string>> PreprocessedInputs(const v1::PreprocessConfig& config, const v1::Model& model) {
  std::set<std::string> floats, chosen;
  for (const v1::TensorInfo& input : model.inputs()) {
    if (!IsFloat(input)) continue;
    floats.insert(input.name());
    if (model.inputs_size() == 1 || input.dims_size() == 4) chosen.insert(input.name());
  }
  if (!config.inputs().empty()) {
    for (const std::string& name : config.inputs()) {
      if (floats.contains(name)) continue;
      return InvalidField("preprocess.inputs", absl::StrCat("must be inputs of the model that hold floats (",
                                                            absl::StrJoin(floats, ", "), "), not ", name));
    }
    return std::set<std::string>(config.inputs().begin(), config.inputs().end());
  }
  if (chosen.size() == 1) return chosen;
  const bool is_set = config.has_scale() || !config.mean().empty() || !config.std().empty();
  if (!is_set) return std::set<std::string>();
  return InvalidField("preprocess.inputs",
                      absl::StrCat("must name the inputs that preprocess.scale, mean and std are for, as ",
                                   chosen.empty() ? "none has" : "several have", " four dimensions; the model's inputs of floats: ",
                                   absl::StrJoin(floats, ", ")));
}

}  // namespace pactory
