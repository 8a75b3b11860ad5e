// Threads that share the rows and filters of a layer.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <vector>

namespace lcnn {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls work(thread) once on each thread, the caller's among them, and returns when all are done.
  void run(const std::function<void(int)>& work);

  // Within `run`: waits until every thread has come here.
  void barrier();

 private:
  struct Worker {
    Pool* pool;
    int thread;
    pthread_t handle;
  };

  static void* main(void* worker);
  void wait_for(unsigned generation);

  int threads_;
  std::vector<Worker> workers_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> phase_{0};
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake_ = PTHREAD_COND_INITIALIZER;
};

// The part of `count` items, from `first` to below `last`, that falls to a thread.
struct Part {
  int first, last;
  Part(int count, int thread, int threads)
      : first(static_cast<int>(static_cast<long long>(count) * thread / threads)),
        last(static_cast<int>(static_cast<long long>(count) * (thread + 1) / threads)) {}
};

}  // namespace lcnn
