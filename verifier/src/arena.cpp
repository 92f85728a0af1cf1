// SPDX-License-Identifier: Apache-2.0
#include "anybpf/verifier/arena.hpp"

#include <algorithm>
#include <new>

namespace anybpf::verifier {

namespace {
constexpr std::size_t first_piece = 16 << 10, last_small = 1 << 20, large_piece = 8 << 20;
}  // namespace

void* Arena::take(std::size_t size) {
    const std::size_t units = (size + unit - 1) / unit;
    used_ += units * unit;
    peak_ = std::max(peak_, used_);
    if (units < classes && free_[units] != nullptr) {
        Free* block = free_[units];
        free_[units] = block->next;
        return block;
    }
    if (left_ < units * unit) grow(units * unit);
    std::byte* const block = at_;
    at_ += units * unit;
    left_ -= units * unit;
    return block;
}

void Arena::give_back(void* memory, std::size_t size) {
    const std::size_t units = (size + unit - 1) / unit;
    used_ -= units * unit;
    if (units < classes) free_[units] = std::construct_at(static_cast<Free*>(memory), free_[units]);
}

void Arena::rewind() {
    free_ = {};
    piece_ = 0;
    at_ = nullptr;
    left_ = used_ = peak_ = 0;
}

// The next piece, twice as large as the one before; huge pages where there is much to hold.
void Arena::grow(std::size_t least) {
    while (piece_ < pieces_.size() && pieces_[piece_].size < least) ++piece_;
    if (piece_ == pieces_.size()) {
        Piece piece;
        const std::size_t before = pieces_.empty() ? first_piece / 2 : pieces_.back().size;
        std::size_t size = std::max(before < last_small ? before * 2 : large_piece, least);
        if (size >= large_piece) {
            if (auto memory = Mapping::anonymous(size, Pages::huge)) piece.large = std::move(*memory);
        }
        if (piece.large.size() == 0) piece.small = std::make_unique_for_overwrite<std::byte[]>(size);
        piece.begin = piece.small ? piece.small.get() : piece.large.data();
        piece.size = size;
        pieces_.push_back(std::move(piece));
    }
    at_ = pieces_[piece_].begin;
    left_ = pieces_[piece_].size;
    ++piece_;
}

}  // namespace anybpf::verifier
