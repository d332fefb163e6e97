// A few sleeping threads that share the tasks of one loop at a time. Our own, rather than OpenMP's: it sleeps instead of spinning
// when cores are shared, and neither a fork nor another OpenMP library in the process can upset it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace rl3d {

class ThreadPool {
 public:
  // A task's index, and which of the loop's threads (0 .. threads - 1) runs it.
  using Body = void (*)(void* state, int64_t index, int thread);

  // Runs body for 0 <= index < count on up to `threads` threads, the caller's among them. When another loop holds the pool,
  // the caller does all the work itself. A std::bad_alloc of any thread is thrown to the caller once all have stopped.
  void run(int threads, int64_t count, Body body, void* state);

 private:
  struct Loop {
    Body body = nullptr;
    void* state = nullptr;
    int64_t count = 0;
  };
  void serve();
  void work(const Loop& loop, int thread);

  std::mutex one_loop_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, done_;
  Loop loop_;
  int started_ = 0;  // threads of the pool
  // Written under the mutex, and read without it by who looks before sleeping.
  std::atomic<int> openings_{0};  // threads the loop still wants
  std::atomic<int> active_{0};    // threads now in the loop
  std::atomic<int64_t> next_{0};
  std::atomic<bool> out_of_memory_{false};
};

}  // namespace rl3d
