// Threads that share the rows and filters of a layer.
#pragma once

#include <pthread.h>

#include <atomic>
#include <vector>

namespace lcnn {

// After a fork the child has none of the threads: there a pool has its caller alone.
class Pool {
 public:
  // Throws std::bad_alloc. A system that gives fewer threads leaves the work to those there are.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls work(thread) once on each thread, the caller's among them, and returns when all are done.
  // Denormals are zeros meanwhile. One caller at a time.
  template <typename Work>
  void run(const Work& work) noexcept {
    run([](const void* erased, int thread) { (*static_cast<const Work*>(erased))(thread); }, &work);
  }

  // Within `run`: waits until every thread has come here.
  void barrier();

  // For callers on several threads: a pool is theirs for as long as they hold it.
  class Hold {
   public:
    explicit Hold(Pool& pool) : pool_(pool) { pthread_mutex_lock(&pool_.hold_); }
    ~Hold() { pthread_mutex_unlock(&pool_.hold_); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Pool& pool_;
  };

 private:
  // Of all pools, what happens around a fork.
  struct Forks;

  using Call = void (*)(const void* work, int thread);

  struct Worker {
    Pool* pool;
    int thread;
    pthread_t handle;
  };

  static void* main(void* worker);
  void run(Call call, const void* work) noexcept;
  void wait_for(unsigned generation);
  void lose_threads();

  int threads_ = 1;
  std::vector<Worker> workers_;
  Call call_ = nullptr;
  const void* work_ = nullptr;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> phase_{0};
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_t hold_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake_ = PTHREAD_COND_INITIALIZER;
  Pool *previous_ = nullptr, *next_ = nullptr;  // in the list of all pools
};

// The share of `count` items, from `first` to below `last`, that falls to a thread.
struct Share {
  int first, last;
  Share(int count, int thread, int threads)
      : first(static_cast<int>(static_cast<long long>(count) * thread / threads)),
        last(static_cast<int>(static_cast<long long>(count) * (thread + 1) / threads)) {}
};

}  // namespace lcnn
