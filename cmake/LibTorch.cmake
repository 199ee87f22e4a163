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
target_link_options(pactory_torch INTERFACE -L${torch_dir}/lib -Wl,--disable-new-dtags -Wl,--allow-shlib-undefined)
target_link_libraries(pactory_torch INTERFACE
  -Wl,--no-as-needed ${torch_dir}/lib/libtorch_cpu.so ${torch_dir}/lib/libc10.so -Wl,--as-needed)

# Installed as the wheel lies, because its libraries find each other by relative paths. CUDA's gigabytes are a component of
# their own.
set(PACTORY_TORCH_INSTALL_DIR lib/pactory)
set(torch_cpu_files libtorch_cpu.so libc10.so libgomp.so.1)
list(TRANSFORM torch_cpu_files PREPEND ${torch_dir}/lib/)
install(FILES ${torch_cpu_files} DESTINATION ${PACTORY_TORCH_INSTALL_DIR}/torch/lib COMPONENT worker)
set(cuda_runtime nvidia/cu13/lib/libcudart.so.13 nvidia/cu13/lib/libcupti.so.13)
list(TRANSFORM cuda_runtime PREPEND ${PACTORY_LIBTORCH_DIR}/)
install(FILES ${cuda_runtime} DESTINATION ${PACTORY_TORCH_INSTALL_DIR}/nvidia/cu13/lib COMPONENT worker)
install(DIRECTORY ${torch_dir}/lib/ DESTINATION ${PACTORY_TORCH_INSTALL_DIR}/torch/lib COMPONENT cuda
  FILES_MATCHING PATTERN "libtorch_cuda*.so" PATTERN "libc10_cuda.so" PATTERN "libcaffe2_nvrtc.so" PATTERN "libtorch_nvshmem.so"
  PATTERN "libshm*" EXCLUDE)
install(DIRECTORY ${PACTORY_LIBTORCH_DIR}/nvidia/ DESTINATION ${PACTORY_TORCH_INSTALL_DIR}/nvidia COMPONENT cuda
  FILES_MATCHING PATTERN "*.so*")

# ONNX's protobuf classes from Debian's libonnx-dev.
add_library(pactory_onnx_proto INTERFACE)
target_compile_definitions(pactory_onnx_proto INTERFACE ONNX_ML=1 ONNX_NAMESPACE=onnx)
target_link_libraries(pactory_onnx_proto INTERFACE onnx_proto protobuf::libprotobuf)
