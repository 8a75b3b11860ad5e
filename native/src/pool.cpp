#include "pool.h"

#include <sched.h>

namespace lcnn {
namespace {

// A layer takes tens of microseconds, and the next one follows: waking a sleeping thread would
// cost as much. After this many looks the thread sleeps, or leaves the core to others.
constexpr int kSpins = 8000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <typename Done>
void spin(const Done& done) {
  for (int i = 0; !done(); ++i) {
    if (i < kSpins) {
      pause_briefly();
    } else {
      sched_yield();
    }
  }
}

}  // namespace

Pool::Pool(int threads) : threads_(1) {
  workers_.resize(threads > 1 ? threads - 1 : 0);
  for (Worker& worker : workers_) {
    worker.pool = this;
    worker.thread = threads_;
    // A system that gives no more threads leaves the work to those there are.
    if (pthread_create(&worker.handle, nullptr, &Pool::main, &worker) != 0) break;
    ++threads_;
  }
  workers_.resize(threads_ - 1);
}

Pool::~Pool() {
  pthread_mutex_lock(&mutex_);
  stop_.store(true);
  pthread_cond_broadcast(&wake_);
  pthread_mutex_unlock(&mutex_);
  for (Worker& worker : workers_) pthread_join(worker.handle, nullptr);
  pthread_mutex_destroy(&mutex_);
  pthread_cond_destroy(&wake_);
}

void Pool::run(const std::function<void(int)>& work) {
  if (threads_ > 1) {
    pthread_mutex_lock(&mutex_);
    work_ = &work;
    running_.store(threads_ - 1);
    generation_.fetch_add(1, std::memory_order_release);
    pthread_cond_broadcast(&wake_);
    pthread_mutex_unlock(&mutex_);
  }
  work(0);
  if (threads_ > 1) spin([&] { return running_.load(std::memory_order_acquire) == 0; });
}

void Pool::barrier() {
  if (threads_ == 1) return;
  const unsigned phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
    return;
  }
  spin([&] { return phase_.load(std::memory_order_acquire) != phase; });
}

void Pool::wait_for(unsigned generation) {
  const auto ready = [&] {
    return generation_.load(std::memory_order_acquire) != generation || stop_.load();
  };
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return;
    pause_briefly();
  }
  pthread_mutex_lock(&mutex_);
  while (!ready()) pthread_cond_wait(&wake_, &mutex_);
  pthread_mutex_unlock(&mutex_);
}

void* Pool::main(void* argument) {
  const Worker& worker = *static_cast<Worker*>(argument);
  Pool& pool = *worker.pool;
  for (unsigned generation = 0;; ++generation) {
    pool.wait_for(generation);
    if (pool.stop_.load()) return nullptr;
    (*pool.work_)(worker.thread);
    pool.running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace lcnn
