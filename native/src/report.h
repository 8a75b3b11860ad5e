// What the delegate that a thread attached last has claimed and left.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lcnn {

class Report {
 public:
  // This thread's; nullptr where there is no memory for one. It ends with the thread.
  static Report* of_this_thread();

  // The lines of one graph. Graphs of one model are told of together: those of the same delegate
  // and interpreter, of which one that is attached again, as after a resize, replaces its own.
  // Throws std::bad_alloc, and then keeps what it had.
  // `delegate` is a number that no other has.
  void set(uint64_t delegate, const void* interpreter, const void* graph, std::string lines);

  const char* text() const { return text_.c_str(); }

 private:
  uint64_t delegate_ = 0;
  const void* interpreter_ = nullptr;
  std::vector<std::pair<const void*, std::string>> graphs_;
  std::string text_;
};

}  // namespace lcnn
