#include "quant/pipeline/runtime_check.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/pipeline/child_process.h"
#include "quant/pipeline/npy_file.h"

namespace pactory::quant {
namespace {

constexpr int64_t kMaxPartBytes = 256 << 20;
// ort_check.py's exit status where the runtime can't load the model.
constexpr int kNotLoaded = 3;

// A file for each input, with the samples from `begin` on.
absl::Status WriteInputs(const Dataset& dataset, int64_t begin, int64_t count, int64_t batch, const std::vector<std::string>& paths) {
  std::vector<NpyWriter> writers;
  for (int64_t done = 0; done < count; done += batch) {
    std::vector<int64_t> indices(std::min(batch, count - done));
    std::iota(indices.begin(), indices.end(), begin + done);
    PACTORY_ASSIGN_OR_RETURN(const Batch rows, dataset.Read(indices));
    for (size_t i = 0; i < paths.size(); ++i) {
      if (done == 0) {
        std::vector<int64_t> shape = rows.inputs[i].sizes().vec();
        shape[0] = count;
        PACTORY_ASSIGN_OR_RETURN(NpyWriter writer, NpyWriter::Create(paths[i], shape, rows.inputs[i].scalar_type()));
        writers.push_back(std::move(writer));
      }
      PACTORY_RETURN_IF_ERROR(writers[i].Append(rows.inputs[i]));
    }
  }
  for (NpyWriter& writer : writers) PACTORY_RETURN_IF_ERROR(writer.Finish());
  return absl::OkStatus();
}

absl::Status ReadResult(const std::string& path, RuntimeResult& result) {
  std::ifstream file(path);
  // No exceptions: the other side may be any program.
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object()) return absl::InternalError(absl::StrCat("the runtime check wrote no result: path=", path));
  const auto text = [](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (const auto runtime = json.find("runtime"); runtime != json.end() && runtime->is_object()) {
    result.runtime_name = text(*runtime, "name");
    result.runtime_version = text(*runtime, "version");
  }
  result.instruction_set = text(json, "instruction_set");
  result.checker = text(json, "onnx_checker");
  if (const auto latency = json.find("latency_ms"); latency != json.end() && latency->is_object()) {
    const auto median = latency->find("median");
    if (median != latency->end() && median->is_number()) result.latency_ms = median->get<double>();
  }
  return absl::OkStatus();
}

}  // namespace

bool HasRuntime(const std::vector<std::string>& command, const std::string& runtime) {
  std::vector<std::string> question = command;
  question.insert(question.end(), {"--has-runtime", runtime});
  return RunChild(question, nullptr).ok();
}

absl::StatusOr<RuntimeResult> RunRuntimeCheck(const RuntimeCheck& check, const Dataset& dataset) {
  std::error_code error;
  std::filesystem::create_directories(check.work_dir, error);
  if (error) return absl::InternalError(absl::StrCat("folder can't be made: path=", check.work_dir, ": ", error.message()));
  const auto remove = absl::MakeCleanup([&check] {
    std::error_code ignored;
    std::filesystem::remove_all(check.work_dir, ignored);
  });
  const std::string outputs = check.work_dir + "/outputs";
  const std::string json = check.work_dir + "/result.json";
  const int64_t total = check.samples > 0 ? std::min(check.samples, dataset.size()) : dataset.size();
  PACTORY_ASSIGN_OR_RETURN(const Batch first, dataset.Read({0}));
  std::vector<std::string> inputs;
  int64_t sample_bytes = 0;
  for (const at::Tensor& input : first.inputs) {
    inputs.push_back(absl::StrCat(check.work_dir, "/input_", inputs.size(), ".npy"));
    sample_bytes += static_cast<int64_t>(input.nbytes());
  }
  const int64_t part = std::max<int64_t>(1, kMaxPartBytes / std::max<int64_t>(1, sample_bytes));
  RuntimeResult result;
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < total; begin += part) {
    const int64_t count = std::min(part, total - begin);
    PACTORY_RETURN_IF_ERROR(WriteInputs(dataset, begin, count, check.batch_size, inputs));
    std::vector<std::string> command = check.command;
    command.push_back("--inputs");
    command.insert(command.end(), inputs.begin(), inputs.end());
    const bool is_last = begin + count == total;
    for (const std::string& argument :
         {std::string("--model"), check.model_path, std::string("--outputs"), outputs,
          std::string("--batch"), absl::StrCat(check.batch_size), std::string("--threads"), absl::StrCat(check.threads),
          std::string("--latency-runs"), absl::StrCat(is_last ? check.latency_runs : 0), std::string("--latency-threads"),
          std::string("1"), std::string("--runtime"), check.runtime, std::string("--optimization"),
          std::string(check.optimized ? "all" : "none"), std::string("--json"),
          json}) {
      command.push_back(argument);
    }
    PACTORY_RETURN_IF_ERROR(RunChild(command, check.stop, kNotLoaded));
    PACTORY_RETURN_IF_ERROR(ReadResult(json, result));
    PACTORY_ASSIGN_OR_RETURN(at::Tensor output, ReadNpy(outputs + "/output_0.npy"));
    if (output.dim() < 1 || output.size(0) != count) {
      return absl::InternalError(absl::StrCat("the runtime's output must have a row per sample: samples=", count));
    }
    if (check.keep) {
      PACTORY_ASSIGN_OR_RETURN(output, check.keep(output));
    }
    parts.push_back(std::move(output));
    if (check.on_part) PACTORY_RETURN_IF_ERROR(check.on_part(static_cast<double>(begin + count) / static_cast<double>(total)));
  }
  result.kept = at::cat(parts, 0);
  return result;
}

}  // namespace pactory::quant
