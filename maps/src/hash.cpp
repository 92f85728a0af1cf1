// SPDX-License-Identifier: Apache-2.0
// HASH and PERCPU_HASH. Readers take no lock; a writer holds its bucket's lock, and changes the chain by one store.
//
//   elements   vcpus (only HASH: the spares) + max_entries of them, in place for ever; a chain links them by index, and
//   its last link is a
//              number that names the bucket, so that a reader who strayed along a reused element notices and restarts
//   buckets    {lock, head}
//   lines      one per virtual CPU and one for the pool: a journal, a free list, a spare element
//
// An insertion takes an element from a free list (its own, the pool's, else anybody's), a deletion gives one back: free
// and linked elements are always max_entries together. A replacement takes the spare and leaves the old element as the
// next spare, so it works in a full map. Only the spare is private; lists are locked, one lock at a time, always inside
// a bucket's lock.
//
// A writer may die anywhere. Before its first change it writes into its journal what it is about to do, and clears the
// journal before it unlocks. Who comes across a dead owner's journal (the next owner of the slot, or a waiter at one of
// its locks) replays it on behalf of the dead, signing with the dead owner's word, under a lock of the journal's own.
// So a replay may die too, and the next one goes on where it stopped. What each state means:
//
//   insert   list lock held by the dead, element at its head: nothing happened. Else the element was taken: it is in
//            the chain (done), or goes back to the list (taking the list's lock as the dead leads back to line one).
//   remove   element in the chain: nothing happened. Else it goes to the list, whose lock is still held.
//   replace  new element in the chain: the old one becomes the spare. Else nothing happened.
//
// Everything read from the file is bounded at use: an index by the number of elements, a walk by their count.
#include <cerrno>

#include "lock.hpp"
#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

namespace {
constexpr u32 chain_end = 1U << 31;  // a link: the index of an element, or this and the bucket's number
constexpr u32 no_element = ~0U;
constexpr u64 max_kernel_element = 4U << 20;  // KMALLOC_MAX_SIZE
constexpr u64 kernel_element_header = 48;     // sizeof(struct htab_elem)

struct Element {
    std::atomic<u32> next;  // a link; stays as it was when the element leaves the chain, for readers that stand on it
    std::atomic<u32> hash;
    std::atomic<u32> version;    // odd while the element is being filled
    std::atomic<u32> free_next;  // the element after it in a free list, less its own index + 1: zero is a list in order
    // key, rounded up to 8 bytes; then a HASH's value, rounded up likewise
};
static_assert(sizeof(Element) == 16);

struct Bucket {
    std::atomic<u32> lock;
    std::atomic<u32> head;  // a link, xor its own end: zero is an empty chain
    // Counts the elements that left the chain, each before it can be used again: a reader that did not find its key
    // looks whether one left meanwhile, since it may have walked along that one.
    std::atomic<u32> left;
};
static_assert(sizeof(Bucket) == 12);

enum class Op : u32 { none = 0, insert = 1, remove = 2, replace = 3 };

struct alignas(128) Line {
    // the journal: written by the slot's owner; by others on its behalf under `replay` when it is dead
    std::atomic<u32> op, owner;
    std::atomic<u32> bucket, list, fresh, old;
    std::atomic<u32> replay;   // lock
    std::atomic<u32> stopped;  // the owner's word, left by a waiter that gave up on it
    std::atomic<u32> spare;
    std::atomic<u32> victim;  // the line whose list gave the last element that was not its own
    std::array<u32, 6> reserved;
    // the free list: for everybody, under its lock
    alignas(64) std::atomic<u32> list_lock;
    std::atomic<u32> list_head;
};
static_assert(sizeof(Line) == 128 && offsetof(Line, spare) == 32 && offsetof(Line, list_lock) == 64);

struct Geometry {
    u64 key_bytes, value_bytes, element_bytes, spares, elements, buckets, block_bytes;  // block: a virtual CPU's values
    u64 values_at, buckets_at, lines_at, end;
};

Geometry geometry_of(const Spec& spec, u32 vcpus) {
    Geometry g{};
    const bool percpu = spec.type == abi::MapType::percpu_hash;
    g.key_bytes = round_up(spec.key_size, 8);
    g.value_bytes = round_up(spec.value_size, 8);
    g.element_bytes = sizeof(Element) + g.key_bytes + (percpu ? 0 : g.value_bytes);
    g.spares = percpu ? 0 : vcpus;
    g.elements = g.spares + spec.max_entries;
    g.buckets = 1;
    while (g.buckets < spec.max_entries) g.buckets *= 2;
    g.block_bytes = percpu ? round_up(multiply(g.value_bytes, g.elements), 128) : 0;
    g.values_at = round_up(multiply(g.element_bytes, g.elements), page_size);
    g.buckets_at = add(g.values_at, round_up(multiply(g.block_bytes, vcpus), page_size));
    g.lines_at = add(g.buckets_at, round_up(g.buckets * sizeof(Bucket), page_size));
    g.end = add(g.lines_at, (u64{vcpus} + 1) * sizeof(Line));
    return g;
}

class Hash final : public Map {
  public:
    Hash(const Spec& spec, u32 id, const Place& place, const Geometry& g)
        : Map(spec, id, place),
          percpu_(spec.type == abi::MapType::percpu_hash),
          geometry_(g),
          elements_(static_cast<u32>(g.elements)),
          bucket_mask_(static_cast<u32>(g.buckets - 1)),
          memory_(place.memory.data()),
          buckets_(overlay<Bucket>(place.memory, g.buckets_at, g.buckets)),
          lines_(overlay<Line>(place.memory, g.lines_at, vcpus() + std::size_t{1})),
          seed_(id * 0x9e3779b97f4a7c15U) {}

    void* lookup(const void* key, u32 vcpu) override;
    int update(const void* key, const void* value, u64 flags, u32 vcpu) override;
    int erase(const void* key, u32 vcpu) override;
    int copy_out(const void* key, std::span<std::byte> value, u32 vcpu) override;
    int copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32 vcpu) override;
    int next_key(const void* key, void* next) override;
    void recover(u32 slot) override;

  private:
    // --- elements
    std::byte* at(u32 index) const { return memory_ + index * geometry_.element_bytes; }
    Element& element(u32 index) const { return overlay_at<Element>(at(index)); }
    std::byte* key_of(u32 index) const { return at(index) + sizeof(Element); }
    std::byte* value_of(u32 index, u32 vcpu) const {
        return percpu_ ? memory_ + geometry_.values_at + vcpu * geometry_.block_bytes + index * geometry_.value_bytes
                       : key_of(index) + geometry_.key_bytes;
    }
    u32 hash_of(const void* key) const;
    bool key_matches(u32 index, const void* key) const;
    // `values` is one value of the HASH; in a PERCPU_HASH one for `only`, or one for each virtual CPU where only is
    // all_vcpus.
    static constexpr u32 all_vcpus = ~0U;
    void fill(u32 index, u32 hash, const void* key, const std::byte* values, u32 only) const;
    void store_values(u32 index, const std::byte* values, u32 only) const;

    // --- chains
    u32 head_of(u32 bucket) const {
        return buckets_[bucket].head.load(std::memory_order_acquire) ^ (chain_end | bucket);
    }
    // By a reader: the element, or no_element. Its version at the time is even and stands in *version.
    u32 find(const void* key, u32 hash, u32* version) const;
    template <class Match>
    u32 find(u32 hash, u32* version, Match&& match) const;
    // The same of a key that is one word; programs have little else.
    u32 find_word(u64 word) const;
    // By the holder of the bucket's lock: the element with this key, or this index, and the one before it in the chain.
    struct Found {
        u32 index = no_element, before = no_element;
    };
    Found find_locked(u32 bucket, u32 hash, const void* key) const;
    Found find_locked(u32 bucket, u32 index) const;
    template <class Match>
    Found walk(u32 bucket, Match&& match) const;
    // The one store that publishes: what `before` (or the bucket) links to becomes `link`.
    void relink(u32 bucket, u32 before, u32 link) const;
    // After an element left the chain; by the holder of the bucket's lock.
    void count_left(u32 bucket) const {
        auto& left = buckets_[bucket].left;
        left.store(left.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

    // --- writers
    int write(const void* key, const std::byte* values, u32 only, u64 flags, u32 vcpu);
    int write_locked(u32 bucket, u32 hash, const void* key, const std::byte* values, u32 only, u64 flags, u32 vcpu);
    int erase_locked(u32 bucket, u32 hash, const void* key, u32 vcpu);
    int take_element(u32 bucket, u32 vcpu, u32* taken);
    int take_from(u32 list, u32 bucket, u32 vcpu, bool patiently, u32* taken);
    void push(u32 list, u32 index) const;

    // --- locks and journals
    bool lock_word(std::atomic<u32>& word, u32 me, u32 patience);
    bool lock_patiently(std::atomic<u32>& word, u32 vcpu);
    void unlock_own(std::atomic<u32>& word, u32 vcpu) { unlock(word, lines_[vcpu].stopped); }
    bool ready(u32 vcpu);
    static constexpr u32 replay_depth = 2;
    bool completed(u32 dead, u32 me, u32 depth);
    bool replay(u32 slot, u32 me, u32 depth);
    bool replay_locked(Line& line, u32 dead, u32 me, u32 depth);
    Line* line_of(u32 word) const {
        const u32 slot = VcpuTable::slot_of(word);
        return slot < vcpus() ? &lines_[slot] : nullptr;
    }
    void journal(Line& line, Op op, u32 vcpu) {
        line.owner.store(vcpus_.lock_word(vcpu), std::memory_order_release);
        line.op.store(static_cast<u32>(op), std::memory_order_release);
    }
    static void done(Line& line) { line.op.store(static_cast<u32>(Op::none), std::memory_order_release); }

    bool percpu_;
    Geometry geometry_;
    u32 elements_, bucket_mask_;
    std::byte* memory_;
    Bucket* buckets_;
    Line* lines_;
    u64 seed_;
};

// --- elements

// Both halves of the product: every bit of both words counts.
constexpr u64 mix(u64 a, u64 b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<u64>(product) ^ static_cast<u64>(product >> 64);
}

constexpr u64 even_word = 0xd6e8feb86659fd93U, odd_word = 0xa0761d6478bd642fU;

u32 Hash::hash_of(const void* key) const {
    const auto* bytes = static_cast<const std::byte*>(key);
    u64 hash = seed_;
    std::size_t size = spec_.key_size;
    for (; size >= 16; size -= 16, bytes += 16) hash = mix(word_of(bytes, 8) ^ even_word, word_of(bytes + 8, 8) ^ hash);
    if (size >= 8) {
        hash = mix(word_of(bytes, 8) ^ even_word, hash ^ odd_word);
        size -= 8;
        bytes += 8;
    }
    if (size == 4)  // by far the most frequent remainder
        hash = mix(word_of(bytes, 4) ^ even_word, hash ^ odd_word);
    else if (size != 0)
        hash = mix(word_of(bytes, size) ^ even_word, hash ^ odd_word);
    return static_cast<u32>(hash ^ hash >> 32);
}

bool Hash::key_matches(u32 index, const void* key) const {
    const auto* bytes = static_cast<const std::byte*>(key);
    const std::byte* shared = key_of(index);
    std::size_t size = spec_.key_size;
    for (; size >= 8; size -= 8, bytes += 8, shared += 8)
        if (load_word(shared) != word_of(bytes, 8)) return false;
    if (size == 4) return load_word(shared) == word_of(bytes, 4);
    return size == 0 || load_word(shared) == word_of(bytes, size);
}

void Hash::store_values(u32 index, const std::byte* values, u32 only) const {
    if (!percpu_)
        copy_to_shared(value_of(index, 0), values, spec_.value_size);
    else if (only != all_vcpus)
        copy_to_shared(value_of(index, only), values, spec_.value_size);
    else
        for (u32 vcpu = 0; vcpu < vcpus(); ++vcpu)
            copy_to_shared(value_of(index, vcpu), values + vcpu * geometry_.value_bytes, spec_.value_size);
}

void Hash::fill(u32 index, u32 hash, const void* key, const std::byte* values, u32 only) const {
    Element& e = element(index);
    const u32 odd = e.version.load(std::memory_order_relaxed) | 1;  // odd already where a filler died
    e.version.store(odd, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    e.hash.store(hash, std::memory_order_relaxed);
    copy_to_shared(key_of(index), key, spec_.key_size);
    if (percpu_ && only != all_vcpus)
        for (u32 vcpu = 0; vcpu < vcpus(); ++vcpu)
            if (vcpu != only) zero_shared(value_of(index, vcpu), geometry_.value_bytes);
    store_values(index, values, only);
    e.version.store(odd + 1, std::memory_order_release);
}

// --- chains

u32 Hash::find(const void* key, u32 hash, u32* version) const {
    return find(hash, version, [&](u32 index) { return key_matches(index, key); });
}

u32 Hash::find_word(u64 word) const {
    const u64 hash = mix(word ^ even_word, seed_ ^ odd_word);  // as hash_of()
    u32 version = 0;
    return find(static_cast<u32>(hash ^ hash >> 32), &version,
                [&](u32 index) { return load_word(key_of(index)) == word; });
}

template <class Match>
u32 Hash::find(u32 hash, u32* version, Match&& match) const {
    const u32 bucket = hash & bucket_mask_;
    // An honest map needs more than one pass only while elements move under the reader.
    for (u64 steps = 0, bound = u64{elements_} + 65536; steps < bound;) {
        const u32 left_before = buckets_[bucket].left.load(std::memory_order_acquire);
        u32 link = head_of(bucket);
        while (link < elements_ && steps++ < bound) {
            const Element& e = element(link);
            if (e.hash.load(std::memory_order_relaxed) == hash) {
                *version = e.version.load(std::memory_order_acquire);
                const bool matches = match(link);
                std::atomic_thread_fence(std::memory_order_acquire);
                if (matches && (*version & 1) == 0 && e.version.load(std::memory_order_relaxed) == *version)
                    return link;
            }
            link = e.next.load(std::memory_order_acquire);
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (link == (chain_end | bucket) && buckets_[bucket].left.load(std::memory_order_relaxed) == left_before)
            return no_element;
        ++steps;
    }
    return no_element;
}

template <class Match>
Hash::Found Hash::walk(u32 bucket, Match&& match) const {
    Found found;
    u32 link = head_of(bucket);
    for (u32 steps = 0; link < elements_ && steps <= elements_; ++steps) {
        if (match(link)) {
            found.index = link;
            return found;
        }
        found.before = link;
        link = element(link).next.load(std::memory_order_relaxed);
    }
    return {};
}

Hash::Found Hash::find_locked(u32 bucket, u32 hash, const void* key) const {
    return walk(bucket, [&](u32 index) {
        return element(index).hash.load(std::memory_order_relaxed) == hash && key_matches(index, key);
    });
}

Hash::Found Hash::find_locked(u32 bucket, u32 index) const {
    return walk(bucket, [&](u32 other) { return other == index; });
}

void Hash::relink(u32 bucket, u32 before, u32 link) const {
    if (before == no_element)
        buckets_[bucket].head.store(link ^ (chain_end | bucket), std::memory_order_release);
    else
        element(before).next.store(link, std::memory_order_release);
}

// --- locks and journals

bool Hash::completed(u32 dead, u32 me, u32 depth) {
    const Line* line = line_of(dead);
    // An operation that the dead owner did not begin, or that was completed since, leaves just the lock. `op` is read
    // first: an owner writes its word before it.
    if (line == nullptr || line->op.load(std::memory_order_acquire) == static_cast<u32>(Op::none) ||
        line->owner.load(std::memory_order_acquire) != dead)
        return true;
    return depth != 0 && replay(VcpuTable::slot_of(dead), me, depth);
}

bool Hash::lock_word(std::atomic<u32>& word, u32 me, u32 patience) {
    return lock(word, me, vcpus_, patience, [&](u32 dead) { return completed(dead, me, replay_depth); });
}

bool Hash::lock_patiently(std::atomic<u32>& word, u32 vcpu) {
    const u32 me = vcpus_.lock_word(vcpu);
    return maps::lock_patiently(
        word, me, vcpus_, [&](u32 dead) { return completed(dead, me, replay_depth); },
        [&](u32 holder) {
            Line* line = line_of(holder);
            return line == nullptr ? nullptr : &line->stopped;
        });
}

// The journal of one's own slot must be empty before it is written: an owner before may have died.
bool Hash::ready(u32 vcpu) {
    if (lines_[vcpu].op.load(std::memory_order_acquire) == static_cast<u32>(Op::none)) [[likely]]
        return true;
    return replay(vcpu, vcpus_.lock_word(vcpu), replay_depth);
}

void Hash::recover(u32 slot) {
    if (slot < vcpus() && lines_[slot].op.load(std::memory_order_acquire) != static_cast<u32>(Op::none))
        replay(slot, vcpus_.lock_word(slot), replay_depth);
}

// Completes what the slot's dead owner left; false where it lives, or where somebody else is at it and doesn't end.
bool Hash::replay(u32 slot, u32 me, u32 depth) {
    Line& line = lines_[slot];
    if (!lock(line.replay, me, vcpus_, short_patience, nothing_to_recover)) return false;
    bool complete = line.op.load(std::memory_order_acquire) == static_cast<u32>(Op::none);
    const u32 owner = line.owner.load(std::memory_order_acquire);
    if (!complete && vcpus_.lock_owner_dead(owner)) complete = replay_locked(line, owner, me, depth);
    unlock(line.replay);
    return complete;
}

bool Hash::replay_locked(Line& line, u32 dead, u32 me, u32 depth) {
    const u32 op = line.op.load(std::memory_order_relaxed), bucket = line.bucket.load(std::memory_order_relaxed);
    const u32 list = line.list.load(std::memory_order_relaxed), fresh = line.fresh.load(std::memory_order_relaxed);
    const u32 old = line.old.load(std::memory_order_relaxed);
    const bool replacing = op == static_cast<u32>(Op::replace);
    // A journal that makes no sense was spoilt by a process of ill will: it is dropped.
    const bool sound = bucket <= bucket_mask_ && fresh < elements_ && (replacing ? old < elements_ : list <= vcpus());
    if (sound) count_left(bucket);
    if (sound && replacing) {
        if (find_locked(bucket, fresh).index == fresh) line.spare.store(old, std::memory_order_release);
    } else if (sound && find_locked(bucket, fresh).index != fresh) {
        Line& its = lines_[list];
        // The one list lock that a dead owner can hold is the one that its journal names; so completing that owner's
        // work, in turn, needs no lock that a third one holds.
        if (its.list_lock.load(std::memory_order_acquire) != dead &&
            !lock(its.list_lock, dead, vcpus_, short_patience,
                  [&](u32 other) { return completed(other, me, depth - 1); }))
            return false;
        if (its.list_head.load(std::memory_order_relaxed) != fresh) push(list, fresh);
    }
    done(line);
    if (sound && !replacing) unlock_for(lines_[list].list_lock, dead);
    if (sound) unlock_for(buckets_[bucket].lock, dead);
    return true;
}

// --- writers

void Hash::push(u32 list, u32 index) const {
    std::atomic<u32>& head = lines_[list].list_head;
    element(index).free_next.store(head.load(std::memory_order_relaxed) - (index + 1), std::memory_order_release);
    head.store(index, std::memory_order_release);
}

// -ENOENT from an empty list.
int Hash::take_from(u32 list, u32 bucket, u32 vcpu, bool patiently, u32* taken) {
    Line& from = lines_[list];
    if (from.list_head.load(std::memory_order_relaxed) >= elements_) return -ENOENT;
    if (!(patiently ? lock_patiently(from.list_lock, vcpu) : lock_word(from.list_lock, vcpus_.lock_word(vcpu), 0)))
        return -EBUSY;
    const u32 index = from.list_head.load(std::memory_order_relaxed);
    if (index < elements_) {
        Line& mine = lines_[vcpu];
        mine.bucket.store(bucket, std::memory_order_relaxed);
        mine.list.store(list, std::memory_order_relaxed);
        mine.fresh.store(index, std::memory_order_relaxed);
        journal(mine, Op::insert, vcpu);
        from.list_head.store(element(index).free_next.load(std::memory_order_relaxed) + index + 1,
                             std::memory_order_release);
        *taken = index;
    }
    unlock(from.list_lock);
    return index < elements_ ? 0 : -ENOENT;
}

// Leaves the journal saying that the element is being inserted into the bucket. -E2BIG only when none is free anywhere.
int Hash::take_element(u32 bucket, u32 vcpu, u32* taken) {
    const u32 pool = vcpus();
    u32 victim = lines_[vcpu].victim.load(std::memory_order_relaxed);
    if (victim > pool) victim = pool;
    for (const u32 list : {vcpu, pool, victim})
        if (take_from(list, bucket, vcpu, false, taken) == 0) return 0;

    // What the dead were about to insert is free, too.
    for (u32 slot = 0; slot < vcpus(); ++slot) {
        const bool idle = lines_[slot].op.load(std::memory_order_acquire) == static_cast<u32>(Op::none);
        if (!idle && vcpus_.lock_owner_dead(lines_[slot].owner.load(std::memory_order_acquire)))
            replay(slot, vcpus_.lock_word(vcpu), replay_depth);
    }
    u32 busy = no_element;
    for (u32 list = 0; list <= pool; ++list) {
        const int error = take_from(list, bucket, vcpu, false, taken);
        if (error == 0) lines_[vcpu].victim.store(list, std::memory_order_relaxed);
        if (error == 0) return 0;
        if (error == -EBUSY) busy = list;
    }
    if (busy == no_element) return -E2BIG;
    const int error = take_from(busy, bucket, vcpu, true, taken);
    return error == -ENOENT ? -E2BIG : error;
}

int Hash::write(const void* key, const std::byte* values, u32 only, u64 flags, u32 vcpu) {
    if (update_flags_are_bad(flags)) return -EINVAL;
    const u32 hash = hash_of(key), bucket = hash & bucket_mask_;
    if (!ready(vcpu) || !lock_patiently(buckets_[bucket].lock, vcpu)) return -EBUSY;
    const int error = write_locked(bucket, hash, key, values, only, flags, vcpu);
    unlock_own(buckets_[bucket].lock, vcpu);
    return error;
}

int Hash::write_locked(u32 bucket, u32 hash, const void* key, const std::byte* values, u32 only, u64 flags, u32 vcpu) {
    Line& mine = lines_[vcpu];
    const Found found = find_locked(bucket, hash, key);
    if (found.index == no_element) {
        if (flags == abi::update_exist) return -ENOENT;
        u32 fresh = no_element;
        if (const int error = take_element(bucket, vcpu, &fresh)) return error;
        fill(fresh, hash, key, values, only);
        element(fresh).next.store(head_of(bucket), std::memory_order_release);
        relink(bucket, no_element, fresh);
        done(mine);
        return 0;
    }
    if (flags == abi::update_noexist) return -EEXIST;
    if (percpu_) {  // in place, as in the kernel: each value has one writer
        store_values(found.index, values, only);
        return 0;
    }
    const u32 fresh = mine.spare.load(std::memory_order_relaxed);
    if (fresh >= elements_) return -ENOMEM;  // spoilt
    fill(fresh, hash, key, values, only);
    element(fresh).next.store(element(found.index).next.load(std::memory_order_relaxed), std::memory_order_release);
    mine.bucket.store(bucket, std::memory_order_relaxed);
    mine.fresh.store(fresh, std::memory_order_relaxed);
    mine.old.store(found.index, std::memory_order_relaxed);
    journal(mine, Op::replace, vcpu);
    // In the old element's place: a reader finds the one or the other, and never neither.
    relink(bucket, found.before, fresh);
    count_left(bucket);
    mine.spare.store(found.index, std::memory_order_release);
    done(mine);
    return 0;
}

int Hash::erase_locked(u32 bucket, u32 hash, const void* key, u32 vcpu) {
    const Found found = find_locked(bucket, hash, key);
    if (found.index == no_element) return -ENOENT;
    // The list first, any that can be had: nothing may have to wait between the chain and the list.
    const u32 me = vcpus_.lock_word(vcpu), lists = vcpus() + 1;
    u32 list = vcpu, tried = 0;
    while (tried < lists && !lock_word(lines_[list].list_lock, me, 0)) {
        list = list + 1 == lists ? 0 : list + 1;
        ++tried;
    }
    if (tried == lists && !lock_patiently(lines_[list].list_lock, vcpu)) return -EBUSY;
    Line& mine = lines_[vcpu];
    mine.bucket.store(bucket, std::memory_order_relaxed);
    mine.list.store(list, std::memory_order_relaxed);
    mine.fresh.store(found.index, std::memory_order_relaxed);
    journal(mine, Op::remove, vcpu);
    relink(bucket, found.before, element(found.index).next.load(std::memory_order_relaxed));
    count_left(bucket);
    push(list, found.index);
    done(mine);
    unlock(lines_[list].list_lock);
    return 0;
}

// --- operations

void* Hash::lookup(const void* key, u32 vcpu) {
    u32 version = 0;
    const auto* bytes = static_cast<const std::byte*>(key);
    const u32 index = spec_.key_size == 8   ? find_word(word_of(bytes, 8))
                      : spec_.key_size == 4 ? find_word(word_of(bytes, 4))
                                            : find(key, hash_of(key), &version);
    return index == no_element ? nullptr : value_of(index, vcpu);
}

int Hash::update(const void* key, const void* value, u64 flags, u32 vcpu) {
    return write(key, static_cast<const std::byte*>(value), vcpu, flags, vcpu);
}

int Hash::erase(const void* key, u32 vcpu) {
    const u32 hash = hash_of(key), bucket = hash & bucket_mask_;
    if (!ready(vcpu) || !lock_patiently(buckets_[bucket].lock, vcpu)) return -EBUSY;
    const int error = erase_locked(bucket, hash, key, vcpu);
    unlock_own(buckets_[bucket].lock, vcpu);
    return error;
}

int Hash::copy_out(const void* key, std::span<std::byte> value, u32) {
    if (value.size() != syscall_value_size()) return -EINVAL;
    for (u32 attempt = 0; attempt < 256; ++attempt) {
        u32 version;
        const u32 index = find(key, hash_of(key), &version);
        if (index == no_element) return -ENOENT;
        if (percpu_)
            for (u32 vcpu = 0; vcpu < vcpus(); ++vcpu)
                copy_from_shared(value.data() + vcpu * geometry_.value_bytes, value_of(index, vcpu),
                                 geometry_.value_bytes);
        else
            copy_from_shared(value.data(), value_of(index, 0), spec_.value_size);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (element(index).version.load(std::memory_order_relaxed) == version) return 0;
    }
    return -EBUSY;
}

int Hash::copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32 vcpu) {
    if (frozen()) return -EPERM;
    if (value.size() != syscall_value_size()) return -EINVAL;
    return write(key, value.data(), all_vcpus, flags, vcpu);
}

int Hash::next_key(const void* key, void* next) {
    u32 bucket = 0, version;
    u32 link = chain_end;
    bool from_head = true;
    if (key != nullptr) {
        const u32 hash = hash_of(key), index = find(key, hash, &version);
        if (index != no_element) {
            bucket = hash & bucket_mask_;
            link = element(index).next.load(std::memory_order_acquire);
            from_head = false;
        }
    }
    if (from_head) link = head_of(bucket);
    const u64 bound = u64{elements_} + bucket_mask_ + 65536;
    for (u64 steps = 0; steps < bound; ++steps) {
        if (link < elements_) {
            const Element& e = element(link);
            version = e.version.load(std::memory_order_acquire);
            const u32 hash = e.hash.load(std::memory_order_relaxed);
            copy_from_shared(next, key_of(link), spec_.key_size);
            std::atomic_thread_fence(std::memory_order_acquire);
            const bool whole = (version & 1) == 0 && e.version.load(std::memory_order_relaxed) == version;
            if (whole && (hash & bucket_mask_) == bucket) return 0;
            link = head_of(bucket);  // the element was reused under us
        } else if (link != (chain_end | bucket)) {
            link = head_of(bucket);  // strayed
        } else if (bucket == bucket_mask_) {
            return -ENOENT;
        } else {
            link = head_of(++bucket);
        }
    }
    return -ENOENT;
}

}  // namespace

Result<u64> hash_bytes(const Spec& spec, u32 vcpus) {
    const bool percpu = spec.type == abi::MapType::percpu_hash;
    const u32 accepted = abi::map_no_prealloc | flag_zero_seed | access_flags | (percpu ? 0 : flag_numa_node);
    if ((spec.flags & ~accepted) != 0) return refuse("a hash does not take these map flags", EINVAL);
    if (spec.max_entries == 0 || spec.key_size == 0 || spec.value_size == 0)
        return refuse("a hash needs entries, keys and values", EINVAL);
    if (u64{spec.key_size} + spec.value_size >= max_kernel_element - kernel_element_header)
        return refuse("a hash's key and value are too large", E2BIG);
    if (percpu && round_up(spec.value_size, 8) > max_percpu_value) return refuse("a per-CPU value is too large", E2BIG);
    if (spec.max_entries > chain_end - VcpuTable::max_slots) return refuse("a hash has too many entries", E2BIG);
    return geometry_of(spec, vcpus).end;
}

void format_hash(std::span<std::byte> memory, const Spec& spec, u32 vcpus) {
    const Geometry g = geometry_of(spec, vcpus);
    auto* lines = overlay<Line>(memory, g.lines_at, vcpus + std::size_t{1});
    for (u32 slot = 0; slot < vcpus; ++slot) {
        lines[slot].spare.store(g.spares != 0 ? slot : no_element);
        lines[slot].victim.store(vcpus);
        lines[slot].list_head.store(no_element);
    }
    lines[vcpus].list_head.store(static_cast<u32>(g.spares));  // zeroed elements follow each other
}

std::unique_ptr<Map> open_hash(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<Hash>(spec, id, place, geometry_of(spec, place.vcpus.count()));
}

}  // namespace anybpf::maps
