// SPDX-License-Identifier: Apache-2.0
// Where the verifier's states come from: memory in large pieces, which is used again by the next program. Not for two
// threads at once.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "anybpf/base/mapping.hpp"

namespace anybpf::verifier {

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Aligned for everything; not initialized.
    void* take(std::size_t size);
    // For a later take() of that size.
    void give_back(void* memory, std::size_t size);
    // All that was taken is free again. Its users are gone.
    void rewind();

    std::size_t peak() const { return peak_; }  // bytes in use at most, since the last rewind()

  private:
    static constexpr std::size_t unit = 64, classes = 128;
    void grow(std::size_t least);

    struct Free {
        Free* next;
    };
    struct Piece {
        std::unique_ptr<std::byte[]> small;
        Mapping large;
        std::byte* begin = nullptr;
        std::size_t size = 0;
    };
    std::array<Free*, classes> free_{};
    std::vector<Piece> pieces_;
    std::size_t piece_ = 0;  // pieces_[piece_ - 1] is being cut up
    std::byte* at_ = nullptr;
    std::size_t left_ = 0;
    std::size_t used_ = 0, peak_ = 0;
};

}  // namespace anybpf::verifier
