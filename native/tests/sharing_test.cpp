// A delegate that several interpreters share, on several threads, and in the child of a fork: the
// same results as alone, no race for ThreadSanitizer, and no wait without end.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../fuzz/runtime.h"
#include "../src/c_api.h"
#include "../src/delegate.h"

namespace {

using Bytes = std::vector<uint8_t>;

std::atomic<int> failures{0};

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

void* create(const char* threads) {
  const char* keys[] = {"force", "threads"};
  const char* values[] = {"1", threads};
  void* handle = tflite_plugin_create_delegate(keys, values, 2, nullptr);
  check(handle != nullptr, "no delegate");
  return handle;
}

// What a model computes with a delegate.
Bytes run(const Bytes& model, void* handle) {
  fuzz::Reader in(model.data(), model.size());
  fuzz::Runtime runtime(&in);
  auto* delegate = static_cast<tflite::Delegate*>(handle);
  check(delegate->prepare(runtime.context(), delegate) == tflite::kOk, "attaching fails");
  check(runtime.kernels() > 0 && runtime.run(), "nothing runs");
  return runtime.outputs();
}

// Plain models of one to four layers.
std::vector<Bytes> models() {
  std::vector<Bytes> all;
  for (uint8_t seed = 0; seed < 2; ++seed) {
    for (uint8_t int8 = 0; int8 < 2; ++int8) {
      Bytes model(12);
      model[0] = seed;
      model[1] = int8;
      model[6] = static_cast<uint8_t>(seed * 3);  // layers
      all.push_back(model);
    }
  }
  return all;
}

void test_threads(const char* threads) {
  const std::vector<Bytes> all = models();
  std::vector<Bytes> expected;
  void* handle = create(threads);
  for (const Bytes& model : all) expected.push_back(run(model, handle));
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (size_t i = 0; i < 30; ++i) {
        const size_t which = (i + caller) % all.size();
        check(run(all[which], handle) == expected[which], "another result beside other callers");
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  tflite_plugin_destroy_delegate(handle);
}

// Waits for a child that runs `work`, and ends if it does not within some seconds.
template <typename Work>
void in_child(const std::string& what, const Work& work) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    failures = 0;
    work();
    std::fflush(stdout);
    _exit(failures == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, what + " in the child of a fork");
}

void test_forks() {
  const std::vector<Bytes> all = models();
  void* handle = create("3");
  const Bytes expected = run(all[0], handle), other = run(all[3], handle);
  fuzz::Reader in(all[0].data(), all[0].size());
  fuzz::Runtime attached(&in);
  auto* delegate = static_cast<tflite::Delegate*>(handle);
  check(delegate->prepare(attached.context(), delegate) == tflite::kOk, "attaching fails");
  in_child("a model that was attached before", [&] {
    check(attached.run() && attached.outputs() == expected, "another result");
    check(run(all[3], handle) == other, "another result of a model attached there");
    tflite_plugin_destroy_delegate(handle);
#if !defined(__SANITIZE_THREAD__)
    void* own = create("2");
    check(run(all[0], own) == expected, "another result of a delegate made there");
    tflite_plugin_destroy_delegate(own);
#endif
  });
  // While another thread attaches and runs, and may hold any lock.
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) check(run(all[3], handle) == other, "another result in the parent");
  });
  for (int i = 0; i < 20; ++i) {
    in_child("a busy delegate", [&] { check(attached.run(), "no run"); });
  }
  stop = true;
  busy.join();
  check(attached.run() && attached.outputs() == expected, "another result in the parent, after");
}

}  // namespace

int main() {
  for (const char* threads : {"1", "3"}) test_threads(threads);
  test_forks();
  if (failures != 0) return 1;
  std::printf("the same results from several threads, and after a fork\n");
  return 0;
}
