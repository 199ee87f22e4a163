#include "workers/trainer/event_pipe.h"

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/util/delimited_message_util.h>

namespace pactory {

absl::StatusOr<v1::TrainerJob> ReadJob(int fd) {
  google::protobuf::io::FileInputStream input(fd);
  v1::TrainerJob job;
  bool clean_eof = false;
  if (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&job, &input, &clean_eof)) return job;
  return absl::InvalidArgumentError(clean_eof ? "standard input must hold a TrainerJob, it is empty"
                                              : "standard input must hold a length-delimited TrainerJob");
}

void EventPipe::Send(const v1::TrainerEvent& event) {
  if (!broken_ && !google::protobuf::util::SerializeDelimitedToFileDescriptor(event, fd_)) broken_ = true;
}

}  // namespace pactory
