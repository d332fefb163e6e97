#include "thread_pool.h"

#include <algorithm>
#include <new>
#include <system_error>
#include <thread>

namespace rl3d {
namespace {

// Loops follow each other within microseconds, and to sleep and be woken takes tens of them: a thread looks this often whether there is
// something to do before it sleeps (about 20 microseconds, little enough where cores are shared).
constexpr int kLooks = 1000;

template <class Condition>
void look_for(Condition condition) {
  for (int i = 0; i < kLooks && !condition(); i++) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
}

}  // namespace

void ThreadPool::work(const Loop& loop, int thread) {
  try {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < loop.count;) loop.body(loop.state, i, thread);
  } catch (const std::bad_alloc&) {
    out_of_memory_.store(true, std::memory_order_relaxed);
  }
}

void ThreadPool::serve() {
  for (;;) {
    look_for([this] { return openings_.load(std::memory_order_relaxed) > 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return openings_ > 0; });
    const int thread = openings_--;
    const Loop loop = loop_;
    active_++;
    lock.unlock();
    work(loop, thread);
    lock.lock();
    if (--active_ == 0) done_.notify_one();
  }
}

void ThreadPool::run(int threads, int64_t count, Body body, void* state) {
  threads = (int)std::min<int64_t>(threads, count);
  std::unique_lock<std::mutex> mine(one_loop_, std::defer_lock);
  if (threads <= 1 || !mine.try_lock()) {
    for (int64_t i = 0; i < count; i++) body(state, i, 0);
    return;
  }
  const Loop loop{body, state, count};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    try {
      for (; started_ < threads - 1; started_++) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // No more threads to be had: those that started, and this one, do the work.
    }
    loop_ = loop;
    openings_ = std::min(threads - 1, started_);
    next_.store(0, std::memory_order_relaxed);
    out_of_memory_.store(false, std::memory_order_relaxed);
  }
  wake_.notify_all();
  work(loop, 0);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    openings_ = 0;  // a thread that has not woken yet would find nothing left to do
  }
  look_for([this] { return active_.load(std::memory_order_relaxed) == 0; });
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return active_ == 0; });
  if (out_of_memory_.load(std::memory_order_relaxed)) throw std::bad_alloc();
}

}  // namespace rl3d
