# Compiler settings of every target: C++20, optimized by default, ccache and mold where they are installed.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# -O3 costs a sixth of the build's time more and gains nothing but in the kernels, which ask for it themselves.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

# Several files compiled as one: a third of the time for a whole build. Names in anonymous namespaces must differ within a folder.
option(PACTORY_UNITY_BUILD "Compile several files as one; off is better while one file is worked on" ON)
set(CMAKE_UNITY_BUILD ${PACTORY_UNITY_BUILD})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)

find_program(PACTORY_CCACHE ccache)
if(PACTORY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness is what ccache's manual asks for with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${PACTORY_CCACHE})
endif()
find_program(PACTORY_MOLD mold)
if(PACTORY_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

set(PACTORY_SANITIZE "" CACHE STRING "Sanitizers, like address,undefined or thread")
if(PACTORY_SANITIZE)
  add_compile_options(-fsanitize=${PACTORY_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PACTORY_SANITIZE})
endif()
