// pactory datasets upload|list|show|delete
#include <iostream>
#include <memory>

#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/upload.h"

namespace pactory {
namespace {

struct DatasetFlags {
  std::string file;
  std::string format;
  std::string name;
  std::string display_name;
};

std::string FormatText(const v1::Dataset& dataset) {
  return absl::AsciiStrToLower(v1::Dataset::Format_Name(dataset.format()));
}

absl::StatusOr<ExitCode> Upload(const Invocation& invocation, const DatasetFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const v1::Dataset dataset,
                           UploadDataset(*session, flags.file, flags.format, flags.display_name));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(dataset);
  } else {
    std::cout << dataset.name() << "\n";
  }
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> ListDatasets(const Invocation& invocation) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::ListDatasetsResponse all;
  v1::ListDatasetsRequest request;
  request.set_page_size(1000);
  PACTORY_RETURN_IF_ERROR(
      session->CallPages(session->datasets(), &v1::DatasetService::Stub::ListDatasets, request,
                         [&all](const auto& page) { all.mutable_datasets()->MergeFrom(page.datasets()); }));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(all);
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Dataset& dataset : all.datasets()) {
    rows.push_back({dataset.name(), dataset.display_name(), FormatText(dataset), SizeText(dataset.size_bytes()),
                    TimeText(dataset.create_time())});
  }
  PrintTable({"DATASET", "FILE", "FORMAT", "SIZE", "CREATED"}, rows);
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> Show(const Invocation& invocation, const DatasetFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::GetDatasetRequest request;
  request.set_name(flags.name);
  PACTORY_ASSIGN_OR_RETURN(const v1::Dataset dataset,
                           session->Call(session->datasets(), &v1::DatasetService::Stub::GetDataset, request));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(dataset);
    return ExitCode::kDone;
  }
  std::cout << dataset.name() << "\n  file     " << dataset.display_name() << ", " << SizeText(dataset.size_bytes())
            << "\n  format   " << FormatText(dataset) << "\n";
  for (const v1::TensorInfo& array : dataset.arrays()) std::cout << "  array    " << TensorText(array) << "\n";
  std::cout << "  blob     " << dataset.blob() << "\n  created  " << TimeText(dataset.create_time()) << std::endl;
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> Delete(const Invocation& invocation, const DatasetFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::DeleteDatasetRequest request;
  request.set_name(flags.name);
  PACTORY_ASSIGN_OR_RETURN(const auto response,
                           session->Call(session->datasets(), &v1::DatasetService::Stub::DeleteDataset, request));
  if (invocation.output == OutputFormat::kJson) PrintJson(response);
  return ExitCode::kDone;
}

}  // namespace

void AddDatasetCommands(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<DatasetFlags>();
  CLI::App* datasets = app.add_subcommand("datasets", "Upload, list, show and delete datasets");
  datasets->require_subcommand(1);

  CLI::App* upload = datasets->add_subcommand("upload", "Upload a dataset and print its name");
  upload->footer(
      "Formats:\n  .npz  an array for each of the model's inputs (N x the input), named like it, or `x` for the only one;\n"
      "        and, where there are labels, `y` (N integers)\n  .tar  WebDataset: KEY.jpg|png beside KEY.cls, which holds the class number,\n"
      "        KEY.txt (a line of text), KEY.mask.png or KEY.json (boxes, polygons)\n"
      "Example:\n  pactory datasets upload train.npz");
  upload->add_option("file", flags->file, "Data file")->required();
  upload->add_option("--format", flags->format, "npz or tar; default: by the suffix")
      ->check(CLI::IsMember({"npz", "tar"}));
  upload->add_option("--name", flags->display_name, "Name for people; default: the file's");
  OnCommand(upload, invocation, [&invocation, flags] { return Upload(invocation, *flags); });

  OnCommand(datasets->add_subcommand("list", "List the datasets, newest first"), invocation,
            [&invocation] { return ListDatasets(invocation); });

  CLI::App* show = datasets->add_subcommand("show", "Show a dataset");
  show->add_option("dataset", flags->name, "datasets/ID")->required();
  OnCommand(show, invocation, [&invocation, flags] { return Show(invocation, *flags); });

  CLI::App* remove = datasets->add_subcommand("delete", "Delete a dataset that no unfinished job uses");
  remove->add_option("dataset", flags->name, "datasets/ID")->required();
  OnCommand(remove, invocation, [&invocation, flags] { return Delete(invocation, *flags); });
}

}  // namespace pactory
