# A room is one folder of src/ or kernels/ and one static library, recite_NAME.
#
#   recite_room(tasks SOURCES copy.cpp ... USES base jobs [LIBRARIES fmt::fmt] [TORCH])
#
# TORCH: the room includes torch/torch.h, from the precompiled header.
function(recite_room name)
  cmake_parse_arguments(ROOM "TORCH" "" "SOURCES;USES;LIBRARIES" ${ARGN})
  add_library(recite_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(recite_${name} PUBLIC "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}")
  list(TRANSFORM ROOM_USES PREPEND recite_)
  target_link_libraries(recite_${name} PUBLIC ${ROOM_USES} ${ROOM_LIBRARIES} PRIVATE recite_warnings)
  if(ROOM_TORCH)
    target_link_libraries(recite_${name} PUBLIC recite::torch)
    target_precompile_headers(recite_${name} REUSE_FROM recite_torch_header)
  endif()
endfunction()

# One test program of GoogleTest: recite_test(tasks SOURCES copy_test.cpp ... USES tasks [TORCH] [RANKS 4 [SURVIVORS 3]])
#
# RANKS N: every test runs on N MPI ranks at once, and N (or SURVIVORS, when a test kills some) of them must say that
# they passed.
function(recite_test name)
  cmake_parse_arguments(TEST "TORCH" "RANKS;SURVIVORS;TIMEOUT" "SOURCES;USES;LIBRARIES" ${ARGN})
  add_executable(${name}_tests ${TEST_SOURCES})
  list(TRANSFORM TEST_USES PREPEND recite_)
  target_include_directories(${name}_tests PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name}_tests PRIVATE ${TEST_USES} ${TEST_LIBRARIES} recite_warnings GTest::gtest GTest::gmock)
  if(TEST_TORCH)
    target_precompile_headers(${name}_tests REUSE_FROM recite_torch_header)
  endif()
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 300)
  endif()
  if(TEST_RANKS)
    if(NOT TEST_SURVIVORS)
      set(TEST_SURVIVORS ${TEST_RANKS})
    endif()
    target_sources(${name}_tests PRIVATE "${PROJECT_SOURCE_DIR}/tests/support/rank_main.cpp")
    target_link_libraries(${name}_tests PRIVATE recite_comm)
    add_test(NAME ${name} COMMAND "${PROJECT_SOURCE_DIR}/tests/support/run_ranks.sh"
             "${PROJECT_SOURCE_DIR}/launch/mpirun.sh" ${TEST_RANKS} ${TEST_SURVIVORS} $<TARGET_FILE:${name}_tests>)
    set_tests_properties(${name} PROPERTIES PROCESSORS 2)
  else()
    target_link_libraries(${name}_tests PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name}_tests)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${TEST_TIMEOUT})
endfunction()
