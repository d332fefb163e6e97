// What the parts of the C interface share: the mark of an exported function, and the threads.
#pragma once
#include <cstdint>

#include "thread_pool.h"

#define RL3D_API extern "C" __attribute__((visibility("default")))

namespace rl3d {

ThreadPool& thread_pool();  // this process's own, also after a fork

template <class Function>
void run_in_pool(int threads, int64_t count, Function function) {
  thread_pool().run(
      threads, count, [](void* f, int64_t index, int thread) { (*static_cast<Function*>(f))(index, thread); }, &function);
}

}  // namespace rl3d
