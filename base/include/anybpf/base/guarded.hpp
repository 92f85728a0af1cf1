// SPDX-License-Identifier: Apache-2.0
// Guarded<T>: shared state that can be reached only under its lock.
#pragma once

#include <mutex>
#include <utility>

namespace anybpf {

template <class T>
class Guarded {
  public:
    Guarded() = default;
    template <class... Args>
    explicit Guarded(std::in_place_t, Args&&... args) : value_(std::forward<Args>(args)...) {}

    template <class F>
    decltype(auto) with(F&& body) {
        const std::scoped_lock lock(mutex_);
        return std::forward<F>(body)(value_);
    }
    template <class F>
    decltype(auto) with(F&& body) const {
        const std::scoped_lock lock(mutex_);
        return std::forward<F>(body)(std::as_const(value_));
    }

  private:
    mutable std::mutex mutex_;
    T value_{};
};

}  // namespace anybpf
