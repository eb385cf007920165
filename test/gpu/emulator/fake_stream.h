// How a fake library puts work on the fake driver's stream.
#pragma once

#include <cstddef>

// Runs run(data) now, or keeps a copy of the `bytes` at data for the graph that is being captured.
extern "C" __attribute__((visibility("default"))) void llm_test_enqueue(void (*run)(const void*), const void* data,
                                                                        size_t bytes);
