// Tars of images, for tests.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <clocale>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace pactory::quant {

using Members = std::vector<std::pair<std::string, std::string>>;

inline std::string Tar(const Members& members) {
  std::string content(1 << 20, '\0');
  size_t used = 0;
  // libarchive writes names beyond ASCII only in a locale that has them; reading must do without.
  const std::string locale = std::setlocale(LC_CTYPE, nullptr);
  std::setlocale(LC_CTYPE, "C.UTF-8");
  struct archive* writer = archive_write_new();
  // pax: long names become members of their own before the file's.
  archive_write_set_format_pax(writer);
  archive_write_open_memory(writer, content.data(), content.size(), &used);
  for (const auto& [name, data] : members) {
    struct archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname_utf8(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(data.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_write_header(writer, entry);
    archive_write_data(writer, data.data(), data.size());
    archive_entry_free(entry);
  }
  archive_write_free(writer);
  std::setlocale(LC_CTYPE, locale.c_str());
  content.resize(used);
  return content;
}

inline std::string TarLittle(uint64_t value, int width) {
  std::string bytes;
  for (int index = 0; index < width; ++index) bytes.push_back(static_cast<char>(value >> (8 * index)));
  return bytes;
}

// An image of one colour, as an uncompressed bitmap: decoders go by content and not by the file's name.
inline std::string Image(int height, int width, int red, int green, int blue) {
  const int row = (3 * width + 3) / 4 * 4;
  std::string pixels;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x)
      pixels += {static_cast<char>(blue), static_cast<char>(green), static_cast<char>(red)};
    pixels.append(row - 3 * width, '\0');
  }
  return "BM" + TarLittle(54 + pixels.size(), 4) + TarLittle(0, 4) + TarLittle(54, 4) + TarLittle(40, 4) + TarLittle(width, 4) +
         TarLittle(height, 4) + TarLittle(1, 2) + TarLittle(24, 2) + TarLittle(0, 4) + TarLittle(pixels.size(), 4) + TarLittle(2835, 4) +
         TarLittle(2835, 4) + TarLittle(0, 8) + pixels;
}

}  // namespace pactory::quant
