// SPDX-License-Identifier: Apache-2.0
// RINGBUF, in the kernel's layout: page 0 consumer_pos, page 1 producer_pos, then the data, which Map's memory holds
// twice in a row. After it, on a page of its own, what the kernel keeps to itself: the lock and the oldest reservation.
//
// A record is {u32 length with BUSY and DISCARD, u32 owner} and its data, in steps of 8 bytes. The kernel's second word
// is a page offset that no reader looks at; here it is the lock word of the reserving virtual CPU. So a reservation
// whose owner died names its owner, and the next writer (or `recover`) discards it. producer_pos is published by one
// store after the record's header, and the lock protects nothing that is ever torn: it is simply taken from the dead.
#include <cerrno>

#include "anybpf/maps/ring.hpp"
#include "lock.hpp"
#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

namespace {
constexpr u32 busy = 1U << 31, discarded = 1U << 30;
constexpr u64 max_record = ~u32{0} / 4;

struct Record {
    std::atomic<u32> length, owner;
};
static_assert(sizeof(Record) == 8);

constexpr u64 step(u64 length) { return (length + sizeof(Record) + 7) & ~u64{7}; }
inline u64 position(const std::atomic<u64>& word) { return word.load(std::memory_order_acquire) & ~u64{7}; }
}  // namespace

struct alignas(64) RingBuffer::Private {
    std::atomic<u32> lock;
    std::atomic<u32> stopped;   // lock word of an owner that somebody waited for in vain
    std::atomic<u32> wake_due;  // records were discarded for the dead: a reader may sleep at one of them
    u32 reserved;
    std::atomic<u64> pending;  // no record before this position is busy
};

RingBuffer::RingBuffer(std::span<std::byte> memory, u64 size, VcpuTable vcpus)
    : consumer_(overlay<std::atomic<u64>>(memory, 0)),
      producer_(overlay<std::atomic<u64>>(memory, page_size)),
      data_(memory.data() + 2 * page_size),
      size_(size),
      own_(overlay<Private>(memory, 2 * page_size + 2 * size)),
      vcpus_(vcpus) {
    static_assert(sizeof(Private) == 64 && offsetof(Private, pending) == 16);
}

bool RingBuffer::lock_own(u32 vcpu) {
    return lock_patiently(own_->lock, vcpus_.lock_word(vcpu), vcpus_, nothing_to_recover,
                          [this](u32) { return &own_->stopped; });
}

// By the lock's holder: walks from a record on, discards those of the dead, and stops at the first whose owner lives,
// or with `all` at the end. Returns the position of the first unfinished one.
u64 RingBuffer::settle(u64 from, u64 to, bool all) {
    u64 unfinished = to;
    for (u64 at = from; at < to;) {
        auto& record = overlay_at<Record>(data_ + (at & (size_ - 1)));
        u32 length = record.length.load(std::memory_order_acquire);
        if ((length & busy) != 0 && vcpus_.lock_owner_dead(record.owner.load(std::memory_order_relaxed))) {
            // Before the discard, so that a death between the two costs at most a needless wake-up.
            own_->wake_due.store(1, std::memory_order_release);
            // Unless it is finished by now: its owner may have died after that, in a later run on the same slot.
            const u32 thrown_away = (length & ~busy) | discarded;
            if (record.length.compare_exchange_strong(length, thrown_away, std::memory_order_acq_rel))
                length = thrown_away;
        }
        if ((length & busy) != 0) {
            if (unfinished == to) unfinished = at;
            if (!all) break;
        }
        at += step(length & ~(busy | discarded));
    }
    return unfinished;
}

// Nothing in the file is believed: neither that the writer is ahead by what the ring holds, nor a length.
std::optional<u32> RingBuffer::length_at_front() const {
    const u64 at = position(*consumer_), ahead = position(*producer_) - at;
    if (ahead == 0 || ahead > size_) return std::nullopt;
    const u32 length = overlay_at<Record>(data_ + (at & (size_ - 1))).length.load(std::memory_order_acquire);
    if ((length & busy) != 0 || step(length & ~discarded) > ahead) return std::nullopt;
    return length;
}

std::optional<std::span<const std::byte>> RingBuffer::front() {
    while (const auto length = length_at_front()) {
        if ((*length & discarded) == 0)
            return std::span(data_ + (position(*consumer_) & (size_ - 1)) + sizeof(Record), *length);
        pop();
    }
    return std::nullopt;
}

void RingBuffer::pop() {
    const auto length = length_at_front();
    if (length) consumer_->store(position(*consumer_) + step(*length & ~discarded), std::memory_order_release);
}

// Where the oldest unfinished record may lie: between reader and writer, whatever the file says.
u64 RingBuffer::settled(u64 consumer, u64 producer) const {
    const u64 pending = position(own_->pending);
    return pending - consumer <= producer - consumer ? pending : consumer;
}

void* RingBuffer::reserve(u64 size, u32 vcpu) {
    if (size > max_record || step(size) > size_ || !lock_own(vcpu)) return nullptr;
    void* data = nullptr;
    const u64 consumer = position(*consumer_), producer = position(*producer_), after = producer + step(size);
    if (producer - consumer <= size_) {
        const u64 pending = settle(settled(consumer, producer), producer, false);
        own_->pending.store(pending, std::memory_order_relaxed);
        if (after - consumer < size_ && after - pending < size_) {
            auto& record = overlay_at<Record>(data_ + (producer & (size_ - 1)));
            record.owner.store(vcpus_.lock_word(vcpu), std::memory_order_relaxed);
            record.length.store(static_cast<u32>(size) | busy, std::memory_order_relaxed);
            producer_->store(after, std::memory_order_release);
            data = data_ + (producer & (size_ - 1)) + sizeof(Record);
        }
    }
    unlock(own_->lock, own_->stopped);
    return data;
}

bool RingBuffer::commit(void* data, bool discard, u64 flags, u32) {
    auto* bytes = static_cast<std::byte*>(data);
    const auto offset = static_cast<u64>(bytes - data_) - sizeof(Record);
    ANYBPF_ASSERT(offset < size_ && offset % 8 == 0);  // the verifier proved that it is a record
    auto& record = overlay_at<Record>(bytes - sizeof(Record));
    const u32 length = record.length.load(std::memory_order_relaxed) & ~(busy | discarded);
    record.length.exchange(discard ? length | discarded : length, std::memory_order_seq_cst);
    const bool due = own_->wake_due.load(std::memory_order_relaxed) != 0 &&
                     own_->wake_due.exchange(0, std::memory_order_acq_rel) != 0;
    if ((flags & abi::ringbuf_force_wakeup) != 0) return true;
    const bool caught_up = (consumer_->load(std::memory_order_seq_cst) & (size_ - 1)) == offset;
    return due || (caught_up && (flags & abi::ringbuf_no_wakeup) == 0);
}

int RingBuffer::output(const void* data, u64 size, u64 flags, u32 vcpu, bool* wake) {
    *wake = false;
    if ((flags & ~(abi::ringbuf_no_wakeup | abi::ringbuf_force_wakeup)) != 0) return -EINVAL;
    void* record = reserve(size, vcpu);
    if (record == nullptr) return -EAGAIN;
    if (size != 0) std::memcpy(record, data, size);
    *wake = commit(record, false, flags, vcpu);
    return 0;
}

u64 RingBuffer::query(u64 what) const {
    const u64 consumer = consumer_->load(std::memory_order_acquire),
              producer = producer_->load(std::memory_order_acquire);
    switch (what) {
        case 0:
            return producer - consumer;
        case 1:
            return size_;
        case 2:
            return consumer;
        case 3:
            return producer;
        default:
            return 0;
    }
}

bool RingBuffer::discard_dead(u32 vcpu) {
    const u64 consumer = position(*consumer_), producer = position(*producer_);
    if (producer == consumer || producer - consumer > size_ || !lock_own(vcpu)) return false;
    const u64 last = position(*producer_);
    if (last - consumer <= size_) settle(settled(consumer, last), last, true);
    unlock(own_->lock, own_->stopped);
    return own_->wake_due.load(std::memory_order_relaxed) != 0 &&
           own_->wake_due.exchange(0, std::memory_order_acq_rel) != 0;
}

bool RingBuffer::ready() {
    if (length_at_front()) return true;
    if (query(0) == 0) return false;
    const auto thread = VcpuThread::current();
    const auto claim = vcpus_.acquire(thread);
    if (!claim) return false;
    discard_dead(claim->slot);
    vcpus_.release(thread, claim->slot);
    return length_at_front().has_value();
}

class RingBufferMap final : public Map {
  public:
    RingBufferMap(const Spec& spec, u32 id, const Place& place)
        : Map(spec, id, place), ring_(place.memory, spec.max_entries, place.vcpus) {}

    void* lookup(const void*, u32) override { return nullptr; }
    int update(const void*, const void*, u64, u32) override { return -not_supported; }
    int erase(const void*, u32) override { return -not_supported; }
    int copy_out(const void*, std::span<std::byte>, u32) override { return -not_supported; }
    int copy_in(const void*, std::span<const std::byte>, u64, u32) override {
        return frozen() ? -EPERM : -not_supported;
    }
    int next_key(const void*, void*) override { return -not_supported; }
    // The wake-up stays due: the next commit, or whoever waits for readers, sees to it.
    void recover(u32 slot) override {
        if (ring_.discard_dead(slot)) ring_.own_->wake_due.store(1, std::memory_order_release);
    }

    RingBuffer* ring() { return &ring_; }

  private:
    RingBuffer ring_;
};

RingBuffer* RingBuffer::of(Map& map) {
    return map.spec().type == abi::MapType::ringbuf ? static_cast<RingBufferMap&>(map).ring() : nullptr;
}

Result<u64> ringbuf_bytes(const Spec& spec, u32) {
    if ((spec.flags & ~flag_numa_node) != 0) return refuse("a ring buffer takes no map flags", EINVAL);
    const u32 size = spec.max_entries;
    if (spec.key_size != 0 || spec.value_size != 0 || size == 0 || (size & (size - 1)) != 0 || size % page_size != 0)
        return refuse("a ring buffer has no keys and values, and its size is a power of two of at least a page",
                      EINVAL);
    return 2 * page_size + u64{size} + page_size;  // the last: Private
}

std::unique_ptr<Map> open_ringbuf(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<RingBufferMap>(spec, id, place);
}

}  // namespace anybpf::maps
