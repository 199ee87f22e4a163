#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "server/dataset_inspection.h"
#include "server/npy_header.h"
#include "server/zip_directory.h"

namespace pactory {
namespace {

absl::StatusOr<std::optional<NpyHeader>> ReadArray(const std::vector<ZipEntry>& entries, const std::string& name,
                                                   const ReadExactlyFn& read) {
  std::optional<NpyHeader> header;
  const auto entry = std::find_if(entries.begin(), entries.end(),
                                  [&](const ZipEntry& e) { return e.name == absl::StrCat(name, ".npy"); });
  if (entry == entries.end()) return header;
  PACTORY_ASSIGN_OR_RETURN(const std::string start, ReadEntryStart(*entry, kMaxNpyHeader, read));
  PACTORY_ASSIGN_OR_RETURN(header, ParseNpyHeader(name, start));
  PACTORY_RETURN_IF_ERROR(CheckNpySize(name, *header, entry->uncompressed_size));
  return header;
}

}  // namespace

absl::StatusOr<DatasetFacts> InspectNpz(int64_t size_bytes, const ReadExactlyFn& read) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, ReadZipDirectory(size_bytes, read));
  PACTORY_ASSIGN_OR_RETURN(const std::optional<NpyHeader> x, ReadArray(entries, "x", read));
  if (!x.has_value())
    return BadData("must have an array `x` with the samples; save it with numpy.savez(file, x=..., y=...)");
  if (x->shape.empty() || x->shape[0] < 1) {
    return BadData(absl::StrCat("must have at least one sample in `x`: shape=[", absl::StrJoin(x->shape, ","), "]"));
  }
  if (!x->IsNumber())
    return BadData(absl::StrCat("must have numbers in `x` (float16/32/64, or integers): dtype=", x->dtype));

  DatasetFacts facts;
  facts.sample_dims.emplace(x->shape.begin() + 1, x->shape.end());
  PACTORY_ASSIGN_OR_RETURN(const std::optional<NpyHeader> y, ReadArray(entries, "y", read));
  facts.labelled = y.has_value();
  if (!y.has_value()) return facts;
  if (!y->IsInteger()) return BadData(absl::StrCat("must have integer classes in `y`: dtype=", y->dtype));
  if (y->shape.size() != 1 || y->shape[0] != x->shape[0]) {
    return BadData(absl::StrCat("must have one class in `y` for each sample of `x`: x=[", absl::StrJoin(x->shape, ","),
                                "] y=[", absl::StrJoin(y->shape, ","), "]"));
  }
  return facts;
}

}  // namespace pactory
