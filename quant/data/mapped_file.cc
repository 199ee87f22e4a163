#include "quant/data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace pactory::quant {

struct MappedFile::Mapping {
  void* address = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (address != nullptr) munmap(address, size);
  }
};

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::NotFoundError(absl::StrCat(path, ": file can't be opened: ", strerror(errno)));
  auto mapping = std::make_shared<Mapping>();
  struct stat info {};
  absl::Status status;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": must be a file"));
  } else if (info.st_size == 0) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": file must not be empty"));
  } else {
    mapping->size = static_cast<size_t>(info.st_size);
    void* address = mmap(nullptr, mapping->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      status = absl::InvalidArgumentError(absl::StrCat(path, ": file can't be mapped: ", strerror(errno)));
    } else {
      mapping->address = address;
    }
  }
  close(descriptor);
  if (!status.ok()) return status;
  return MappedFile(std::move(mapping));
}

MappedFile::MappedFile(std::shared_ptr<const Mapping> mapping) : mapping_(std::move(mapping)) {}

absl::string_view MappedFile::bytes() const {
  return absl::string_view(static_cast<const char*>(mapping_->address), mapping_->size);
}

}  // namespace pactory::quant
