#include "report.h"

#include <pthread.h>

#include <algorithm>
#include <new>

namespace lcnn {
namespace {

// Not thread_local: where there is no memory for such a variable, or for its destructor, the system
// ends the process.
class Key {
 public:
  Key() : valid_(pthread_key_create(&key_, free) == 0) {}
  ~Key() {
    if (valid_) pthread_key_delete(key_);
  }

  Report* get() const {
    return valid_ ? static_cast<Report*>(pthread_getspecific(key_)) : nullptr;
  }
  bool set(Report* report) const { return valid_ && pthread_setspecific(key_, report) == 0; }

 private:
  static void free(void* report) { delete static_cast<Report*>(report); }

  pthread_key_t key_{};
  bool valid_;
};

const Key key;

}  // namespace

Report* Report::of_this_thread() {
  Report* report = key.get();
  if (report == nullptr) {
    report = new (std::nothrow) Report;
    if (report != nullptr && !key.set(report)) {
      delete report;
      return nullptr;
    }
  }
  return report;
}

void Report::set(uint64_t delegate, const void* interpreter, const void* graph,
                 std::string lines) {
  std::vector<std::pair<const void*, std::string>> graphs;
  if (delegate == delegate_ && interpreter == interpreter_) graphs = graphs_;
  const auto same = std::find_if(graphs.begin(), graphs.end(),
                                 [&](const auto& other) { return other.first == graph; });
  if (same != graphs.end()) {
    same->second = std::move(lines);
  } else {
    graphs.emplace_back(graph, std::move(lines));
  }
  std::string text;
  for (const auto& [_, of_graph] : graphs) text += of_graph;
  delegate_ = delegate;
  interpreter_ = interpreter;
  graphs_.swap(graphs);
  text_.swap(text);
}

}  // namespace lcnn
