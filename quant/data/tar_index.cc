#include "quant/data/tar_index.h"

#include <archive.h>
#include <archive_entry.h>

#include <map>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace pactory::quant {
namespace {

constexpr absl::string_view kImageSuffixes[] = {"jpg", "jpeg", "png", "bmp", "webp"};

bool IsImage(absl::string_view suffix) {
  for (const absl::string_view known : kImageSuffixes) {
    if (suffix == known) return true;
  }
  return false;
}

// What a suffix of a file beside the image holds, or null where it is none that is read.
std::optional<absl::string_view> TarSample::*MemberOf(absl::string_view suffix) {
  if (suffix == "txt") return &TarSample::text;
  if (suffix == "mask.png") return &TarSample::mask;
  if (suffix == "json") return &TarSample::regions;
  return nullptr;
}

// The member's bytes without a copy: the archive is one block in memory, and tar stores members whole.
absl::StatusOr<absl::string_view> DataOf(struct archive* reader, struct archive_entry* entry,
                                         absl::string_view archive, const std::string& name) {
  const la_int64_t size = archive_entry_size(entry);
  if (size == 0) return absl::string_view();
  const void* block = nullptr;
  size_t length = 0;
  la_int64_t offset = 0;
  const char* end = archive.data() + archive.size();
  if (archive_read_data_block(reader, &block, &length, &offset) != ARCHIVE_OK || offset != 0) {
    return absl::InvalidArgumentError(absl::StrCat("tar member must be whole: member=", name));
  }
  const char* data = static_cast<const char*>(block);
  if (data < archive.data() || data > end || size > end - data) {
    return absl::InvalidArgumentError(absl::StrCat("tar member must be whole and not compressed: member=", name));
  }
  return absl::string_view(data, size);
}

}  // namespace

absl::StatusOr<std::vector<TarSample>> IndexTar(absl::string_view archive) {
  std::unique_ptr<struct archive, int (*)(struct archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_memory(reader.get(), archive.data(), archive.size()) != ARCHIVE_OK) {
    return absl::InvalidArgumentError("data must be an .npz or an uncompressed tar archive");
  }
  // By key, so that an image and what belongs to it may come in any order.
  std::map<std::string, int64_t> classes;
  std::map<std::string, TarSample> beside;
  std::vector<TarSample> samples;
  std::map<std::string, size_t> images;
  struct archive_entry* entry = nullptr;
  int result = ARCHIVE_OK;
  int64_t members = 0;
  // A warning is about the name in the process' locale; the entry is whole, and its name as UTF-8 is checked below.
  while ((result = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    // The plain form fails on names beyond ASCII where the process has no locale, the other one on bytes that are no
    // UTF-8.
    const char* path = archive_entry_pathname_utf8(entry);
    if (path == nullptr) path = archive_entry_pathname(entry);
    if (path == nullptr || !IsUtf8(path)) {
      return absl::InvalidArgumentError(absl::StrCat("names in the tar must be UTF-8: member=", members));
    }
    ++members;
    const std::string name = path;
    // The key ends at the first dot of the file's name.
    const size_t slash = name.rfind('/');
    const size_t dot = name.find('.', slash == std::string::npos ? 0 : slash + 1);
    if (dot == std::string::npos) continue;
    const std::string key = name.substr(0, dot);
    const std::string suffix = absl::AsciiStrToLower(name.substr(dot + 1));
    std::optional<absl::string_view> TarSample::*const member = MemberOf(suffix);
    if (suffix != "cls" && !IsImage(suffix) && member == nullptr) continue;
    PACTORY_ASSIGN_OR_RETURN(const absl::string_view data, DataOf(reader.get(), entry, archive, name));
    if (member != nullptr) {
      std::optional<absl::string_view>& kept = beside[key].*member;
      if (kept.has_value()) return absl::InvalidArgumentError(absl::StrCat("sample must have one file of a kind: member=", name));
      kept = data;
    } else if (suffix == "cls") {
      int64_t label = 0;
      if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(data), &label)) {
        return absl::InvalidArgumentError(absl::StrCat("class must be a whole number as text: member=", name));
      }
      if (!classes.emplace(key, label).second) {
        return absl::InvalidArgumentError(absl::StrCat("sample must have one class: member=", name));
      }
    } else {
      if (!images.emplace(key, samples.size()).second) {
        return absl::InvalidArgumentError(absl::StrCat("sample must have one image: member=", name));
      }
      samples.push_back({.key = key, .image = data});
    }
  }
  if (result != ARCHIVE_EOF) {
    const char* problem = archive_error_string(reader.get());
    return absl::InvalidArgumentError(absl::StrCat("data must be an .npz or a whole, uncompressed tar archive: ",
                                                   problem != nullptr ? problem : "damaged"));
  }
  if (samples.empty()) {
    return absl::InvalidArgumentError(
        "tar must hold images (.jpg, .png) with a .cls file of the same name beside each");
  }
  for (const auto& [key, label] : classes) {
    const auto image = images.find(key);
    if (image == images.end()) {
      return absl::InvalidArgumentError(absl::StrCat("class must have an image beside it: key=", key));
    }
    samples[image->second].label = label;
  }
  if (!classes.empty() && classes.size() != samples.size()) {
    for (const TarSample& sample : samples) {
      if (sample.label) continue;
      return absl::InvalidArgumentError(absl::StrCat("image must have a .cls file beside it: key=", sample.key));
    }
  }
  bool has_mask = false;
  for (auto& [key, parts] : beside) {
    const auto image = images.find(key);
    if (image == images.end()) {
      // A readme or an index of the set has no image.
      if (!parts.mask.has_value()) continue;
      return absl::InvalidArgumentError(absl::StrCat("mask must have an image beside it: key=", key));
    }
    TarSample& sample = samples[image->second];
    sample.text = parts.text;
    sample.mask = parts.mask;
    sample.regions = parts.regions;
    has_mask = has_mask || parts.mask.has_value();
  }
  if (has_mask) PACTORY_RETURN_IF_ERROR(RequireAll(samples, &TarSample::mask, ".mask.png"));
  return samples;
}

absl::Status RequireAll(const std::vector<TarSample>& samples, std::optional<absl::string_view> TarSample::*member,
                        absl::string_view suffix) {
  for (const TarSample& sample : samples) {
    if ((sample.*member).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("image must have a ", suffix, " file beside it: key=", sample.key));
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
