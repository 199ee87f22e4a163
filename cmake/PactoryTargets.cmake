# pactory_library(<folder name> [DEPENDS targets...] [PCH headers... | SHARE_PCH name] [EXCLUDE files...])
#
# SHARE_PCH takes the precompiled headers of another folder's library instead of making its own.
# Makes the library `pactory_<name>` of every .cc file below the current folder, so that a new file needs no line here.
# It is an OBJECT library: what registers itself at load time (ops, quantizers) stays in the program.
function(pactory_library name)
  cmake_parse_arguments(ARG "" "SHARE_PCH" "DEPENDS;PCH;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  foreach(pattern ${ARG_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX "${pattern}")
  endforeach()
  add_library(pactory_${name}_objects OBJECT ${sources})
  pactory_warnings(pactory_${name}_objects)
  target_include_directories(pactory_${name}_objects PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(pactory_${name}_objects PUBLIC ${ARG_DEPENDS})
  pactory_precompile(pactory_${name}_objects "${ARG_PCH}" "${ARG_SHARE_PCH}")
  # The interface carries the objects through any number of levels, which plain OBJECT linking does not.
  add_library(pactory_${name} INTERFACE)
  target_sources(pactory_${name} INTERFACE $<TARGET_OBJECTS:pactory_${name}_objects>)
  target_include_directories(pactory_${name} INTERFACE ${PROJECT_SOURCE_DIR})
  target_link_libraries(pactory_${name} INTERFACE ${ARG_DEPENDS})
endfunction()

# pactory_program(<program name> COMPONENT name DEPENDS targets...): a program of the current folder's main.cc. COMPONENT says
# with what it is installed: server, worker or client.
function(pactory_program name)
  cmake_parse_arguments(ARG "" "COMPONENT" "DEPENDS" ${ARGN})
  add_executable(${name} ${CMAKE_CURRENT_SOURCE_DIR}/main.cc)
  pactory_warnings(${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS})
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/../${PACTORY_TORCH_INSTALL_DIR}/torch/lib")
  install(TARGETS ${name} RUNTIME DESTINATION bin COMPONENT ${ARG_COMPONENT})
endfunction()

# pactory_test(<name> <folder of tests/> DEPENDS targets... [SHARE_PCH name] [WHOLE]): one test program of every *_test.cc below
# tests/<folder>. With WHOLE, CTest runs it as one test: its program starts a database cluster, which would cost each test more
# than its own time.
function(pactory_test name folder)
  cmake_parse_arguments(ARG "WHOLE" "SHARE_PCH" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  pactory_warnings(${name}_test)
  target_link_libraries(${name}_test PRIVATE ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  pactory_precompile(${name}_test "" "${ARG_SHARE_PCH}")
  if(ARG_WHOLE)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 600
      ENVIRONMENT "PACTORY_SOURCE_DIR=${PROJECT_SOURCE_DIR};PACTORY_BINARY_DIR=${PROJECT_BINARY_DIR}")
    return()
  endif()
  include(GoogleTest)
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
    PROPERTIES TIMEOUT 300 ENVIRONMENT "PACTORY_SOURCE_DIR=${PROJECT_SOURCE_DIR};PACTORY_BINARY_DIR=${PROJECT_BINARY_DIR}")
endfunction()

function(pactory_precompile target headers shared)
  if(headers)
    target_precompile_headers(${target} PRIVATE ${headers})
  elseif(shared)
    target_precompile_headers(${target} REUSE_FROM pactory_${shared}_objects)
  else()
    return()
  endif()
  target_compile_options(${target} PRIVATE -fpch-preprocess)
endfunction()

function(pactory_warnings target)
  # Designated initializers leave fields out on purpose.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
    -Werror=return-type -Werror=switch)
endfunction()
