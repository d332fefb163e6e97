// The C interface that splat_cpu.py calls: chooses the kernels for this processor, and lends contexts and threads to them.
#include <pthread.h>

#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "pipeline.h"
#include "runtime.h"

namespace rl3d {
namespace baseline {
extern const Kernels kernels;
}
#ifdef RL3D_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

namespace {

// Widest first.
std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found;
#ifdef RL3D_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    found.push_back(&avx512::kernels);
  if (avx2) found.push_back(&avx2::kernels);
#endif
  found.push_back(&baseline::kernels);
  return found;
}

const Kernels* chosen = supported_kernels().front();

struct Context {
  const Kernels* kernels;
  void* pointer;
  std::mutex mutex;  // backward twice at once on one graph
};

void destroy(Context* context) {
  context->kernels->delete_context(context->pointer);
  delete context;
}

// Contexts are worth keeping for their buffers, but not more than a training loop uses in turn.
constexpr size_t kIdleContexts = 4;

struct Runtime {
  ThreadPool pool;
  std::mutex mutex;
  std::vector<Context*> idle;

  Context* acquire() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      for (size_t i = idle.size(); i-- > 0;)
        if (idle[i]->kernels == chosen) {
          Context* context = idle[i];
          idle.erase(idle.begin() + (ptrdiff_t)i);
          return context;
        }
    }
    return new Context{chosen, chosen->new_context(), {}};
  }

  void release(Context* context) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (idle.size() < kIdleContexts) {
        idle.push_back(context);
        return;
      }
    }
    destroy(context);
  }
};

Runtime* runtime = nullptr;

// Never destroyed: its threads may outlive main. After a fork the child has none of its parent's threads, and a lock may be held by
// one of them, so the child starts afresh.
__attribute__((constructor)) void start() {
  runtime = new Runtime;
  pthread_atfork(nullptr, nullptr, [] { runtime = new Runtime; });
}

}  // namespace

ThreadPool& thread_pool() { return runtime->pool; }

}  // namespace rl3d

// Changes with the layout of a structure or the functions of the library; kernels/__init__.py refuses another number.
RL3D_API int rl3d_version() { return 4; }

RL3D_API const char* rl3d_splat_kernels() { return rl3d::chosen->name; }

// For tests: use the named kernels from now on. Returns 0 if this processor cannot run them.
RL3D_API int rl3d_splat_use_kernels(const char* name) {
  for (const rl3d::Kernels* kernels : rl3d::supported_kernels())
    if (!strcmp(kernels->name, name)) {
      rl3d::chosen = kernels;
      return 1;
    }
  return 0;
}

// Whether all numbers of some arrays are finite. (By their bits: the compiler may take it that there is nothing else.)
RL3D_API int rl3d_all_finite(const uint32_t* const* arrays, const int64_t* sizes, int count) {
  uint32_t found = 0;
  for (int a = 0; a < count; a++)
    for (int64_t i = 0; i < sizes[a]; i++) found |= (arrays[a][i] & 0x7f800000u) + 0x00800000u;  // an exponent of all ones carries over
  return !(found >> 31);
}

// Returns 0 if memory ran out, else 1. With keep_for_backward, *handle is what rl3d_splat_backward needs, to be given back by
// rl3d_splat_release.
RL3D_API int rl3d_splat_forward(const rl3d::Problem* problem, const rl3d::Images* out, int keep_for_backward, int threads, void** handle) {
  *handle = nullptr;
  rl3d::Context* context = nullptr;
  try {
    context = rl3d::runtime->acquire();
    context->kernels->forward(context->pointer, *problem, *out, keep_for_backward != 0, threads, rl3d::runtime->pool);
  } catch (const std::bad_alloc&) {
    if (context) rl3d::destroy(context);  // not kept: what fills the memory may be its buffers
    return 0;
  }
  if (keep_for_backward)
    *handle = context;
  else
    rl3d::runtime->release(context);
  return 1;
}

// Returns 0 if memory ran out, else 1.
RL3D_API int rl3d_splat_backward(void* handle, const rl3d::Problem* problem, const rl3d::Images* out, const rl3d::Images* image_gradients,
                                 const rl3d::Gradients* gradients, int threads) {
  rl3d::Context* context = static_cast<rl3d::Context*>(handle);
  std::lock_guard<std::mutex> lock(context->mutex);
  try {
    context->kernels->backward(context->pointer, *problem, *out, *image_gradients, *gradients, threads, rl3d::runtime->pool);
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return 1;
}

RL3D_API void rl3d_splat_release(void* handle) { rl3d::runtime->release(static_cast<rl3d::Context*>(handle)); }
