#include "npz/zip_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

using testing::HasSubstr;

constexpr uint32_t kInZip64 = 0xffffffff;

std::string Little(uint64_t value, int width) {
  std::string bytes;
  for (int index = 0; index < width; ++index) bytes.push_back(static_cast<char>(value >> (8 * index)));
  return bytes;
}

std::string Deflated(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string stored(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = content.size();
  stream.next_out = reinterpret_cast<Bytef*>(stored.data());
  stream.avail_out = stored.size();
  deflate(&stream, Z_FINISH);
  stored.resize(stream.total_out);
  deflateEnd(&stream);
  return stored;
}

// What a directory may claim of the one member of an archive.
struct Claims {
  int flags = 0;
  int method = 8;
  uint64_t size = 0;
  uint32_t crc = 0;
};

Claims TrueClaims(const std::string& content) {
  return {.size = content.size(),
          .crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), content.size()))};
}

// An archive of one member `m`, in the form for files above 4 GiB: sizes and offsets stand in the ZIP64 fields.
std::string Zip64(const std::string& stored, const Claims& claims) {
  const std::string local = absl::StrCat("PK\x03\x04", Little(45, 2), Little(claims.flags, 2), Little(claims.method, 2),
                                         Little(0, 4), Little(claims.crc, 4), Little(stored.size(), 4),
                                         Little(claims.size, 4), Little(1, 2), Little(0, 2), "m", stored);
  // An extra field of another kind stands in front.
  const std::string extra = absl::StrCat(Little(7, 2), Little(2, 2), "..", Little(1, 2), Little(24, 2),
                                         Little(claims.size, 8), Little(stored.size(), 8), Little(0, 8));
  const std::string entry =
      absl::StrCat("PK\x01\x02", Little(45, 2), Little(45, 2), Little(claims.flags, 2), Little(claims.method, 2), Little(0, 4),
                   Little(claims.crc, 4), Little(kInZip64, 4), Little(kInZip64, 4), Little(1, 2), Little(extra.size(), 2),
                   Little(0, 2), Little(0, 8), Little(kInZip64, 4), "m", extra);
  const std::string record = absl::StrCat("PK\x06\x06", Little(44, 8), std::string(12, '\0'), Little(1, 8), Little(1, 8),
                                          Little(entry.size(), 8), Little(local.size(), 8));
  const std::string locator = absl::StrCat("PK\x06\x07", Little(0, 4), Little(local.size() + entry.size(), 8), Little(1, 4));
  return absl::StrCat(local, entry, record, locator, "PK\x05\x06", Little(0, 4), Little(0xffff, 2), Little(0xffff, 2),
                      Little(kInZip64, 4), Little(kInZip64, 4), Little(0, 2));
}

RangedFile Ranged(const std::string& bytes) {
  return {static_cast<int64_t>(bytes.size()), [&bytes](int64_t offset, int64_t size) { return bytes.substr(offset, size); }};
}

absl::StatusOr<std::string> InflateOnly(const std::string& archive) {
  const auto members = ReadZipDirectory(Ranged(archive));
  if (!members.ok()) return members.status();
  const auto content = FindContent(Ranged(archive), members->front());
  if (!content.ok()) return content.status();
  return Inflate(members->front(), absl::string_view(archive).substr(*content, members->front().stored_size));
}

const std::string& Content() {
  static const std::string* const content = new std::string(3 << 20, 'a');
  return *content;
}

TEST(ZipDirectoryTest, FieldsAboveFourGigabytesAreRead) {
  const std::string archive = Zip64(Deflated(Content()), TrueClaims(Content()));
  const auto content = InflateOnly(archive);
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_TRUE(*content == Content());
}

TEST(ZipDirectoryTest, TheStartOfAMemberNeedsNotItsEnd) {
  const std::string archive = Zip64(Deflated(Content()), TrueClaims(Content()));
  const auto members = ReadZipDirectory(Ranged(archive));
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(ReadStart(Ranged(archive), members->front(), 100).value(), std::string(100, 'a'));
}

TEST(ZipDirectoryTest, AWrongSizeOrSumIsRefused) {
  for (const int64_t off : {-1, 1}) {
    Claims claims = TrueClaims(Content());
    claims.size += off;
    EXPECT_THAT(std::string(InflateOnly(Zip64(Deflated(Content()), claims)).status().message()), HasSubstr("member m is damaged"));
  }
  Claims claims = TrueClaims(Content());
  claims.crc ^= 1;
  EXPECT_THAT(std::string(InflateOnly(Zip64(Deflated(Content()), claims)).status().message()), HasSubstr("member m is damaged"));
}

TEST(ZipDirectoryTest, EncryptedAndForeignMethodsAreNamed) {
  Claims claims = TrueClaims(Content());
  claims.flags = 1;
  EXPECT_THAT(std::string(InflateOnly(Zip64(Deflated(Content()), claims)).status().message()), HasSubstr("encrypted"));
  claims = TrueClaims(Content());
  claims.method = 12;
  EXPECT_THAT(std::string(InflateOnly(Zip64(Deflated(Content()), claims)).status().message()), HasSubstr("method=12"));
}

}  // namespace
}  // namespace pactory
