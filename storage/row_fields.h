// Fields of libpqxx rows as our types, and back. Only for .cc files of storage/: it pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "google/protobuf/timestamp.pb.h"

namespace pactory {

/// SQL that turns a timestamptz into microseconds since 1970, for TimestampOf.
#define PACTORY_MICROS(column) "(extract(epoch FROM " column ") * 1000000)::bigint"

/// SQL that turns microseconds since 1970 into a timestamptz.
#define PACTORY_TIME(micros) "(timestamptz 'epoch' + " micros " * interval '1 microsecond')"

/// Returns the timestamp of microseconds since 1970.
google::protobuf::Timestamp TimestampOf(const pqxx::field& micros);

/// Returns a text field, "" where it is null.
std::string TextOr(const pqxx::field& field);

/// Parses a bytea field; false where it does not hold such a message. Null gives an empty message.
bool ParseBytes(const pqxx::field& field, google::protobuf::MessageLite& message);

/// Returns a message as a parameter for a bytea column.
pqxx::binarystring BytesOf(const google::protobuf::MessageLite& message);

/// Returns a parameter for an interval, to the millisecond.
std::string IntervalOf(absl::Duration duration);

/// Returns an array parameter: `{"a","b"}` with quotes and backslashes escaped.
std::string ArrayOf(const std::vector<std::string>& values);

}  // namespace pactory
