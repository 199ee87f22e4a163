#include "quant/evaluation/run_on_dataset.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/guard.h"

namespace pactory::quant {

absl::StatusOr<at::Tensor> RunOnDataset(Executor& executor, const Dataset& dataset, const RunOptions& options) {
  c10::NoGradGuard no_grad;
  at::Tensor results;
  for (int64_t begin = 0; begin < dataset.size(); begin += options.batch_size) {
    const int64_t count = std::min(options.batch_size, dataset.size() - begin);
    std::vector<int64_t> indices(count);
    std::iota(indices.begin(), indices.end(), begin);
    PACTORY_ASSIGN_OR_RETURN(Batch batch, dataset.Read(indices));
    std::vector<at::Tensor> outputs;
    PACTORY_ASSIGN_OR_RETURN(outputs, executor.Run(OnDevice(std::move(batch.inputs), options.device)));
    PACTORY_RETURN_IF_ERROR(GuardTorch("evaluation", [&]() -> absl::Status {
      const at::Tensor output = outputs[0].to(at::kCPU, at::kFloat);
      if (output.dim() < 2 || output.size(0) != count) {
        return absl::InvalidArgumentError(
            absl::StrCat("the model's first output must have the batch as its first axis and classes as its last: rank=",
                         output.dim(), " first axis=", output.dim() == 0 ? 0 : output.size(0), " batch=", count));
      }
      at::Tensor kept = output;
      if (options.keep) {
        PACTORY_ASSIGN_OR_RETURN(kept, options.keep(output));
      }
      if (!results.defined()) {
        std::vector<int64_t> shape = kept.sizes().vec();
        shape[0] = dataset.size();
        results = at::empty(shape, kept.options());
      }
      results.slice(0, begin, begin + count).copy_(kept);
      return absl::OkStatus();
    }));
    if (options.on_batch) PACTORY_RETURN_IF_ERROR(options.on_batch(begin + count));
  }
  return results;
}

}  // namespace pactory::quant
