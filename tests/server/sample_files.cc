#include "tests/server/sample_files.h"

#include <zlib.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace pactory {
namespace {

std::string LittleEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(i < 8 ? static_cast<char>(value >> (8 * i)) : '\0');
  return text;
}

std::string Deflated(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = content.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void AddTensorInfo(onnx::ValueInfoProto& info, const std::string& name, const std::vector<int64_t>& dims) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx::TensorProto::FLOAT);
  for (const int64_t dim : dims) {
    auto& d = *tensor.mutable_shape()->add_dim();
    if (dim < 0) {
      d.set_dim_param("batch");
    } else {
      d.set_dim_value(dim);
    }
  }
}

}  // namespace

onnx::ModelProto SmallModel() {
  onnx::ModelProto model;
  model.set_ir_version(7);
  auto& opset = *model.add_opset_import();
  opset.set_domain("");
  opset.set_version(13);
  auto& graph = *model.mutable_graph();
  graph.set_name("g");
  AddTensorInfo(*graph.add_input(), "x", {-1, 3, 4, 4});
  AddTensorInfo(*graph.add_output(), "y", {-1, 2, 4, 4});
  auto& w = *graph.add_initializer();
  w.set_name("w");
  w.set_data_type(onnx::TensorProto::FLOAT);
  for (const int64_t dim : {2, 3, 1, 1}) w.add_dims(dim);
  w.set_raw_data(std::string(24, '\x01'));
  auto& node = *graph.add_node();
  node.set_op_type("Conv");
  node.set_name("conv1");
  node.add_input("x");
  node.add_input("w");
  node.add_output("y");
  return model;
}

onnx::ModelProto TwoInputModel() {
  onnx::ModelProto model = SmallModel();
  auto& graph = *model.mutable_graph();
  AddTensorInfo(*graph.add_input(), "ids", {-1, -1});
  graph.mutable_input(1)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
  auto& node = *graph.add_node();
  node.set_name("cast1");
  node.set_op_type("Cast");
  node.add_input("ids");
  node.add_output("values");
  auto& to = *node.add_attribute();
  to.set_name("to");
  to.set_type(onnx::AttributeProto::INT);
  to.set_i(onnx::TensorProto::FLOAT);
  AddTensorInfo(*graph.add_output(), "values", {-1, -1});
  return model;
}

std::string Npy(const std::string& dtype, const std::vector<int64_t>& shape, int64_t item_size) {
  int64_t elements = 1;
  for (const int64_t dim : shape) elements *= dim;
  std::string dict = absl::StrCat("{'descr': '", dtype, "', 'fortran_order': False, 'shape': (",
                                  absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  while ((10 + dict.size() + 1) % 64 != 0) dict += ' ';
  dict += '\n';
  return absl::StrCat("\x93NUMPY", LittleEndian(1, 2), LittleEndian(dict.size(), 2), dict,
                      std::string(elements * item_size, '\0'));
}

std::string Zip(const std::vector<ContainedFile>& files, ZipMethod method) {
  std::string zip;
  std::string directory;
  for (const ContainedFile& file : files) {
    const std::string data = method == ZipMethod::kDeflated ? Deflated(file.content) : file.content;
    const uint32_t crc = crc32(0, reinterpret_cast<const Bytef*>(file.content.data()), file.content.size());
    const std::string fields =
        absl::StrCat(LittleEndian(20, 2), LittleEndian(0, 2), LittleEndian(method == ZipMethod::kDeflated ? 8 : 0, 2),
                     LittleEndian(0, 4), LittleEndian(crc, 4), LittleEndian(data.size(), 4),
                     LittleEndian(file.content.size(), 4), LittleEndian(file.name.size(), 2), LittleEndian(0, 2));
    absl::StrAppend(&directory, "PK\x01\x02", LittleEndian(20, 2), fields, LittleEndian(0, 10),
                    LittleEndian(zip.size(), 4), file.name);
    absl::StrAppend(&zip, "PK\x03\x04", fields, file.name, data);
  }
  const size_t offset = zip.size();
  absl::StrAppend(&zip, directory, "PK\x05\x06", LittleEndian(0, 4), LittleEndian(files.size(), 2),
                  LittleEndian(files.size(), 2), LittleEndian(directory.size(), 4), LittleEndian(offset, 4),
                  LittleEndian(0, 2));
  return zip;
}

std::string Tar(const std::vector<ContainedFile>& files) {
  std::string tar;
  for (const ContainedFile& file : files) {
    std::string header(512, '\0');
    header.replace(0, file.name.size(), file.name);
    header.replace(100, 7, "0000644");
    header.replace(124, 11, absl::StrFormat("%011o", file.content.size()));
    header.replace(148, 8, "        ");
    header[156] = '0';
    header.replace(257, 8, absl::string_view("ustar\00000", 8).data(), 8);
    int sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    header.replace(148, 7, absl::StrFormat("%06o", sum) + std::string(1, '\0'));
    tar += header + file.content;
    tar.resize((tar.size() + 511) / 512 * 512);
  }
  return tar + std::string(1024, '\0');
}

std::string SmallNpz(int64_t n) { return Zip({{"x.npy", Npy("<f4", {n, 3, 4, 4}, 4)}, {"y.npy", Npy("<i8", {n}, 8)}}); }

}  // namespace pactory
