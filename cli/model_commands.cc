// pactory models upload|list|show|delete
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/upload.h"

namespace pactory {
namespace {

struct ModelFlags {
  std::string file;
  std::string name;
  std::string display_name;
};

absl::StatusOr<ExitCode> Upload(const Invocation& invocation, const ModelFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const v1::Model model, UploadModel(*session, flags.file, flags.display_name));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(model);
  } else {
    std::cout << model.name() << "\n";
  }
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> ListModels(const Invocation& invocation) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::ListModelsResponse all;
  v1::ListModelsRequest request;
  request.set_page_size(1000);
  PACTORY_RETURN_IF_ERROR(
      session->CallPages(session->models(), &v1::ModelService::Stub::ListModels, request,
                         [&all](const auto& page) { all.mutable_models()->MergeFrom(page.models()); }));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(all);
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Model& model : all.models()) {
    rows.push_back({model.name(), model.display_name(), SizeText(model.size_bytes()), absl::StrCat(model.opset()),
                    TimeText(model.create_time())});
  }
  PrintTable({"MODEL", "FILE", "SIZE", "OPSET", "CREATED"}, rows);
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> Show(const Invocation& invocation, const ModelFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::GetModelRequest request;
  request.set_name(flags.name);
  PACTORY_ASSIGN_OR_RETURN(const v1::Model model,
                           session->Call(session->models(), &v1::ModelService::Stub::GetModel, request));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(model);
    return ExitCode::kDone;
  }
  std::cout << model.name() << "\n  file        " << model.display_name() << ", " << SizeText(model.size_bytes())
            << "\n  opset       " << model.opset() << "\n  parameters  " << model.parameter_count() << "\n";
  for (const v1::TensorInfo& input : model.inputs()) std::cout << "  input       " << TensorText(input) << "\n";
  for (const v1::TensorInfo& output : model.outputs()) std::cout << "  output      " << TensorText(output) << "\n";
  std::vector<std::string> ops;
  for (const v1::OpCount& op : model.ops()) ops.push_back(absl::StrCat(op.op(), " ", op.count()));
  std::cout << "  ops         " << absl::StrJoin(ops, ", ") << std::endl;
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> Delete(const Invocation& invocation, const ModelFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::DeleteModelRequest request;
  request.set_name(flags.name);
  PACTORY_ASSIGN_OR_RETURN(const auto response,
                           session->Call(session->models(), &v1::ModelService::Stub::DeleteModel, request));
  if (invocation.output == OutputFormat::kJson) PrintJson(response);
  return ExitCode::kDone;
}

}  // namespace

void AddModelCommands(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* models = app.add_subcommand("models", "Upload, list, show and delete ONNX models");
  models->require_subcommand(1);

  CLI::App* upload = models->add_subcommand("upload", "Upload an ONNX file and print the model's name");
  upload->footer(
      "An upload that was cut continues where it was; the same file again is not sent.\n"
      "Example:\n  pactory models upload classifier.onnx");
  upload->add_option("file", flags->file, "ONNX file")->required();
  upload->add_option("--name", flags->display_name, "Name for people; default: the file's");
  OnCommand(upload, invocation, [&invocation, flags] { return Upload(invocation, *flags); });

  OnCommand(models->add_subcommand("list", "List the models, newest first"), invocation,
            [&invocation, flags] { return ListModels(invocation); });

  CLI::App* show = models->add_subcommand("show", "Show a model's inputs, outputs and ops");
  show->add_option("model", flags->name, "models/ID")->required();
  OnCommand(show, invocation, [&invocation, flags] { return Show(invocation, *flags); });

  CLI::App* remove = models->add_subcommand("delete", "Delete a model that no unfinished job uses");
  remove->add_option("model", flags->name, "models/ID")->required();
  OnCommand(remove, invocation, [&invocation, flags] { return Delete(invocation, *flags); });
}

}  // namespace pactory
