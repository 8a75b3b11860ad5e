#include "pool.h"

#include <sched.h>

#include "denormals.h"

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

// A fork copies the memory and only the thread that calls it. All pools are in a list, so that the
// child can forget the threads that it does not have, and locks that they held.
struct Pool::Forks {
  static pthread_mutex_t mutex;
  static Pool* pools;

  // False where the system had no memory for the handlers.
  static const bool watched;

  static void add(Pool* pool) {
    pthread_mutex_lock(&mutex);
    pool->next_ = pools;
    if (pools != nullptr) pools->previous_ = pool;
    pools = pool;
    pthread_mutex_unlock(&mutex);
  }

  static void remove(Pool* pool) {
    pthread_mutex_lock(&mutex);
    (pool->previous_ != nullptr ? pool->previous_->next_ : pools) = pool->next_;
    if (pool->next_ != nullptr) pool->next_->previous_ = pool->previous_;
    pthread_mutex_unlock(&mutex);
  }

  static void before() { pthread_mutex_lock(&mutex); }
  static void after_in_parent() { pthread_mutex_unlock(&mutex); }
  static void after_in_child() {
    for (Pool* pool = pools; pool != nullptr; pool = pool->next_) pool->lose_threads();
    pthread_mutex_unlock(&mutex);
  }
};

pthread_mutex_t Pool::Forks::mutex = PTHREAD_MUTEX_INITIALIZER;
Pool* Pool::Forks::pools = nullptr;
const bool Pool::Forks::watched = pthread_atfork(before, after_in_parent, after_in_child) == 0;

Pool::Pool(int threads) {
  // Without a handler a child of a fork would wait for threads that it does not have.
  workers_.resize(threads > 1 && Forks::watched ? threads - 1 : 0);
  for (Worker& worker : workers_) {
    worker.pool = this;
    worker.thread = threads_;
    if (pthread_create(&worker.handle, nullptr, &Pool::main, &worker) != 0) break;
    ++threads_;
  }
  workers_.resize(threads_ - 1);
  Forks::add(this);
}

Pool::~Pool() {
  Forks::remove(this);
  pthread_mutex_lock(&mutex_);
  stop_.store(true);
  pthread_cond_broadcast(&wake_);
  pthread_mutex_unlock(&mutex_);
  for (Worker& worker : workers_) pthread_join(worker.handle, nullptr);
  pthread_mutex_destroy(&mutex_);
  pthread_mutex_destroy(&hold_);
  pthread_cond_destroy(&wake_);
}

void Pool::lose_threads() {
  threads_ = 1;
  workers_.clear();
  running_.store(0);
  arrived_.store(0);
  mutex_ = PTHREAD_MUTEX_INITIALIZER;
  hold_ = PTHREAD_MUTEX_INITIALIZER;
  wake_ = PTHREAD_COND_INITIALIZER;
}

void Pool::run(Call call, const void* work) noexcept {
  if (threads_ > 1) {
    pthread_mutex_lock(&mutex_);
    call_ = call;
    work_ = work;
    running_.store(threads_ - 1);
    generation_.fetch_add(1, std::memory_order_release);
    pthread_cond_broadcast(&wake_);
    pthread_mutex_unlock(&mutex_);
  }
  {
    const FlushDenormals flush;
    call(work, 0);
  }
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
  // For all of its life: the thread runs nothing but kernels.
  const FlushDenormals flush;
  for (unsigned generation = 0;; ++generation) {
    pool.wait_for(generation);
    if (pool.stop_.load()) return nullptr;
    pool.call_(pool.work_, worker.thread);
    pool.running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace lcnn
