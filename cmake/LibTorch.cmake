# LibTorch from the unpacked PyPI wheel (scripts/bootstrap.sh puts it there), as the target `pactory_torch`.
#
# The wheel carries its own fmt and google/protobuf headers, which must not shadow the system's: hence -idirafter. Only
# libtorch_cpu and libc10 are linked; libtorch.so would need libtorch_cuda, which a GPU host loads at run time.
set(PACTORY_LIBTORCH_DIR ${PROJECT_SOURCE_DIR}/.cache/libtorch CACHE PATH "Folder that holds torch/ and nvidia/ of the unpacked wheels")
if(NOT EXISTS ${PACTORY_LIBTORCH_DIR}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch not found in ${PACTORY_LIBTORCH_DIR}; run scripts/bootstrap.sh, or set PACTORY_LIBTORCH_DIR")
endif()
set(torch_dir ${PACTORY_LIBTORCH_DIR}/torch)
add_library(pactory_torch INTERFACE)
target_compile_options(pactory_torch INTERFACE
  "SHELL:-idirafter ${torch_dir}/include" "SHELL:-idirafter ${torch_dir}/include/torch/csrc/api/include")
target_link_options(pactory_torch INTERFACE
  -L${torch_dir}/lib -Wl,--disable-new-dtags -Wl,-rpath,${torch_dir}/lib -Wl,--allow-shlib-undefined)
target_link_libraries(pactory_torch INTERFACE -Wl,--no-as-needed -ltorch_cpu -lc10 -Wl,--as-needed)

# ONNX's protobuf classes from Debian's libonnx-dev.
add_library(pactory_onnx_proto INTERFACE)
target_compile_definitions(pactory_onnx_proto INTERFACE ONNX_ML=1 ONNX_NAMESPACE=onnx)
target_link_libraries(pactory_onnx_proto INTERFACE onnx_proto protobuf::libprotobuf)
