// SPDX-License-Identifier: Apache-2.0
#include "operations.hpp"

#include <cerrno>

#include "readers.hpp"

namespace anybpf::maps::testing {
namespace {

using Value = World::Value;
constexpr u32 entries = World::entries;
using Words = std::array<u64, 4>;
constexpr Words sevens{7, 7, 7, 7}, eights{8, 8, 8, 8}, nines{9, 9, 9, 9};
constexpr u64 record_bytes = sizeof(Words), sample_bytes = 28;
constexpr u64 sample_record = 40;  // in the perf buffer

Value value_of(u32 key, u32 write) {
    Value value;
    value.fill(u64{key} << 32 | write);
    return value;
}
template <class V>
V value_for(u32 key, u32 write) {
    if constexpr (std::is_same_v<V, u64>)
        return u64{key} << 32 | write;
    else
        return value_of(key, write);
}

// Nobody is in its way, so that busy is no answer.
void done(int error) {
    if (error == -EBUSY) ::abort();
}

std::span<const std::byte> sample(const Words& words) { return std::as_bytes(std::span(words)).first(sample_bytes); }

// --- what is there before

// Keys 1.. exist; every element has passed through the list of slot `freed_on`, so that none is as a new file has it.
template <class V>
std::function<void(World&)> with_keys(std::unique_ptr<Map> World::* which, u32 prepared, u32 freed_on = 0) {
    return [=](World& world) {
        Map& map = *(world.*which);
        world.run_on(freed_on, false, [&](u32 vcpu) {
            for (u32 key = 1; key <= entries; ++key) EXPECT_EQ(put(map, key, value_for<V>(key, 0), 0, vcpu), 0);
            for (u32 key = 1; key <= entries; ++key) EXPECT_EQ(take(map, key, vcpu), 0);
            for (u32 key = 1; key <= prepared; ++key) EXPECT_EQ(put(map, key, value_for<V>(key, 1), 0, vcpu), 0);
        });
    };
}
auto hash_with(u32 prepared, u32 freed_on = 0) { return with_keys<Value>(&World::hash, prepared, freed_on); }
auto percpu_with(u32 prepared) { return with_keys<u64>(&World::percpu_hash, prepared); }

void read_away(World& world) {
    u64 told = 0;
    read_ring(world.ring_memory(), World::ring_bytes, Reading::consume, [](const std::byte*, u32) {});
    read_perf(world.perf_memory(), World::perf_bytes, Reading::consume, told, [](auto&&, u64) {});
}

// So many records have been written and read that positions and data wrap; `kept` are not read yet.
std::function<void(World&)> with_records(u32 kept) {
    return [=](World& world) {
        world.run_on(0, false, [&](u32 vcpu) {
            bool wake = false;
            for (u32 i = 0; i < 300 + kept; ++i) {
                EXPECT_EQ(world.records().output(nines.data(), record_bytes, 0, vcpu, &wake), 0);
                EXPECT_EQ(world.perf->output(sample(nines), vcpu, &wake), 0);
                if (i < 300) read_away(world);
            }
        });
    };
}
// As many as fit in: the next one does not.
constexpr u32 ring_capacity = (World::ring_bytes - 1) / (record_bytes + 8);
constexpr u32 perf_capacity = (World::perf_bytes - 1) / sample_record;
static_assert(ring_capacity == 102 && perf_capacity == 102);

void with_a_loss(World& world) {
    with_records(perf_capacity)(world);
    world.run_on(0, false, [&](u32 vcpu) {
        bool wake = false;
        for (u32 i = 0; i < 3; ++i) EXPECT_EQ(world.perf->output(sample(nines), vcpu, &wake), -ENOSPC);
    });
    read_away(world);
}

void with_arrays(World& world) {
    world.run_on(0, false, [&](u32) {
        for (u32 index = 0; index < entries; ++index) {
            EXPECT_EQ(put(*world.array, index, value_of(index, 1)), 0);
            EXPECT_EQ(put(*world.objects, index, index + 1), 0);
            for (u32 slot = 0; slot < World::slots; ++slot)
                EXPECT_EQ(put(*world.percpu_array, index, u64{10} + slot, 0, slot), 0);
        }
    });
}

// --- one step each

using Step = std::function<void(World&, u32)>;

Step put_in_hash(u32 key, u64 flags = 0) {
    return [=](World& world, u32 vcpu) { done(put(*world.hash, key, value_of(key, 9), flags, vcpu)); };
}
Step put_in_percpu(u32 key) {
    return [=](World& world, u32 vcpu) { done(put(*world.percpu_hash, key, value_for<u64>(key, 9), 0, vcpu)); };
}
// As MAP_UPDATE_ELEM does it.
Step copy_into_hash(u32 key) {
    return [=](World& world, u32 vcpu) {
        const Value value = value_of(key, 9);
        done(world.hash->copy_in(&key, std::as_bytes(std::span(value)), 0, vcpu));
    };
}
template <class V>
Step copy_into(std::unique_ptr<Map> World::* which, u32 key) {
    return [=](World& world, u32 vcpu) {
        std::array<V, World::slots> values;
        values.fill(value_for<V>(key, 9));
        done((world.*which)->copy_in(&key, std::as_bytes(std::span(values)), 0, vcpu));
    };
}
Step take_from(std::unique_ptr<Map> World::* which, u32 key) {
    return [=](World& world, u32 vcpu) { done(take(*(world.*which), key, vcpu)); };
}
// What a program does through the pointer that a lookup gave: an atomic addition.
Step add_through(std::unique_ptr<Map> World::* which, u32 key) {
    return [=](World& world, u32 vcpu) {
        auto* value = find<u64>(*(world.*which), key, vcpu);
        if (value == nullptr) ::abort();
        std::atomic_ref(*value).fetch_add(1, std::memory_order_relaxed);
    };
}
void count_through(World& world, u32 vcpu) {
    volatile u64* value = find<u64>(*world.percpu_array, u32{1}, vcpu);
    *value = *value + 1;
}

template <u32 which>
void reserve(World& world, u32 vcpu) {
    world.reserved[which] = world.records().reserve(record_bytes, vcpu);
    if (world.reserved[which] != nullptr) std::memcpy(world.reserved[which], sevens.data(), record_bytes);
}
template <u32 which, bool discard>
void commit(World& world, u32 vcpu) {
    if (world.reserved[which] != nullptr) world.records().commit(world.reserved[which], discard, 0, vcpu);
}
void output_to_ring(World& world, u32 vcpu) {
    bool wake = false;
    world.records().output(sevens.data(), record_bytes, 0, vcpu, &wake);
}
void output_to_perf(World& world, u32 vcpu) {
    bool wake = false;
    done(world.perf->output(sample(sevens), vcpu, &wake));
}
void read_one(World& world, u32) {
    if (world.records().front()) world.records().pop();
}

std::vector<Operation> make_operations() {
    const auto hash = &World::hash, percpu_hash = &World::percpu_hash, array = &World::array,
               percpu_array = &World::percpu_array, objects = &World::objects;
    const auto nothing = [](World&) {};
    const auto owned_by = [](u32 owner) { return [=](World& world) { world.owner(0) = owner; }; };
    return {
        {"take a virtual CPU and leave it", nothing, {}},
        {"take a dead one's virtual CPU", owned_by(FUTEX_OWNER_DIED), {}},
        {"take the next virtual CPU", owned_by(1), {}},

        {"hash: insert", hash_with(3), {put_in_hash(9)}},
        {"hash: insert into a new map", nothing, {put_in_hash(9)}},
        {"hash: insert what another freed", hash_with(3, 1), {put_in_hash(9)}},
        {"hash: insert with the last element", hash_with(3, 0), {put_in_hash(9, abi::update_noexist)}},
        {"hash: insert in vain", hash_with(4), {put_in_hash(9)}},
        {"hash: insert where the key is", hash_with(4), {put_in_hash(2, abi::update_noexist)}},
        {"hash: replace in a full map", hash_with(4), {put_in_hash(2)}},
        {"hash: replace where the key is not", hash_with(3), {put_in_hash(9, abi::update_exist)}},
        {"hash: replace by MAP_UPDATE_ELEM", hash_with(4), {copy_into_hash(3)}},
        {"hash: remove", hash_with(4), {take_from(hash, 2)}},
        {"hash: remove the only key", hash_with(1), {take_from(hash, 1)}},
        {"hash: remove where the key is not", hash_with(4), {take_from(hash, 9)}},
        {"hash: add to a value", hash_with(4), {add_through(hash, 2)}},
        {"hash: remove and insert", hash_with(4), {take_from(hash, 2), put_in_hash(9), put_in_hash(9)}},

        {"per-CPU hash: insert", percpu_with(3), {put_in_percpu(9)}},
        {"per-CPU hash: insert by MAP_UPDATE_ELEM", percpu_with(3), {copy_into<u64>(percpu_hash, 9)}},
        {"per-CPU hash: update", percpu_with(4), {put_in_percpu(2)}},
        {"per-CPU hash: update by MAP_UPDATE_ELEM", percpu_with(4), {copy_into<u64>(percpu_hash, 2)}, true},
        {"per-CPU hash: add to a value", percpu_with(4), {add_through(percpu_hash, 2)}},
        {"per-CPU hash: remove", percpu_with(4), {take_from(percpu_hash, 2)}},

        {"array: update",
         with_arrays,
         {[](World& w, u32 v) { done(put(*w.array, u32{2}, value_of(2, 9), 0, v)); }},
         true},
        {"array: add to a value", with_arrays, {add_through(array, 1)}},
        {"per-CPU array: update", with_arrays, {[](World& w, u32 v) {
             done(put(*w.percpu_array, u32{2}, u64{9}, 0, v));
         }}},
        {"per-CPU array: update by MAP_UPDATE_ELEM", with_arrays, {copy_into<u64>(percpu_array, 2)}, true},
        {"per-CPU array: count", with_arrays, {count_through}},
        {"program array: put", with_arrays, {[](World& w, u32 v) { done(put(*w.objects, u32{2}, u32{9}, 0, v)); }}},
        {"program array: take", with_arrays, {take_from(objects, 2)}},

        {"ring buffer: reserve and submit", with_records(2), {reserve<0>, commit<0, false>}},
        {"ring buffer: reserve and discard", with_records(2), {reserve<0>, commit<0, true>}},
        {"ring buffer: two records, the second first",
         with_records(0),
         {reserve<0>, reserve<1>, commit<1, false>, commit<0, false>}},
        {"ring buffer: output", with_records(0), {output_to_ring}},
        {"ring buffer: output in vain", with_records(ring_capacity), {output_to_ring}},
        {"ring buffer: read", with_records(2), {read_one}},

        {"perf buffer: output", with_records(1), {output_to_perf}},
        {"perf buffer: output after losses", with_a_loss, {output_to_perf}},
        {"perf buffer: output in vain", with_records(perf_capacity), {output_to_perf}},

        {"all in one run",
         [](World& w) { hash_with(4)(w), percpu_with(3)(w), with_arrays(w), with_records(1)(w); },
         {put_in_hash(2), put_in_percpu(9), count_through, reserve<0>, take_from(hash, 3), commit<0, false>,
          output_to_perf}},
    };
}

std::atomic<u64>& lost_events(World& world) {  // docs/formats/map.md, "A perf buffer"
    return *std::launder(
        static_cast<std::atomic<u64>*>(static_cast<void*>(world.perf_memory().data() + 4096 + World::perf_bytes + 24)));
}

template <class V>
void audit_hash(Map& map, u32 vcpu, u32 first) {
    const auto add = [&](u32 key, u32 write) { return put(map, key, value_for<V>(key, write), 0, vcpu); };
    // At once the element that the dead one may have been about to insert.
    const bool room = keys_of<u32>(map).size() < entries;
    EXPECT_EQ(add(first, 3), room ? 0 : -E2BIG);
    for (const u32 key : keys_of<u32>(map)) EXPECT_EQ(take(map, key, vcpu), 0) << key;
    for (u32 key = 20; key < 20 + entries; ++key) EXPECT_EQ(add(key, 3), 0) << key;
    EXPECT_EQ(add(30, 3), -E2BIG);
    for (u32 key = 20; key < 20 + entries; ++key) EXPECT_EQ(add(key, 4), 0) << key;
    EXPECT_EQ(keys_of<u32>(map).size(), entries);
    for (u32 key = 20; key < 20 + entries; ++key) {
        const auto* value = find<V>(map, key, vcpu);
        EXPECT_TRUE(value != nullptr && *value == value_for<V>(key, 4)) << key;
    }
}

void audit_buffers(World& world, u32 vcpu, u64 told_before) {
    const auto mine = [](u64 word) { return word == eights[0]; };
    u32 records = 0, samples = 0;
    u64 told = 0;
    const auto read = [&] {
        records = samples = 0;
        const bool to_the_end = read_ring(world.ring_memory(), World::ring_bytes, Reading::consume,
                                          [&](const std::byte* data, u32) { records += mine(word_at(data)); });
        read_perf(world.perf_memory(), World::perf_bytes, Reading::consume, told,
                  [&](auto&& word, u64) { samples += mine(word(0)); });
        return to_the_end;
    };
    const u64 due = lost_events(world).load() - told_before;
    read();
    bool wake = false;
    EXPECT_EQ(world.records().output(eights.data(), record_bytes, 0, vcpu, &wake), 0);
    EXPECT_TRUE(wake) << "the reader sleeps at what the dead one reserved";
    EXPECT_EQ(world.perf->output(sample(eights), vcpu, &wake), 0);
    EXPECT_TRUE(read()) << "a reservation of the dead holds the reader back";
    EXPECT_EQ(records, 1U);
    EXPECT_EQ(samples, 1U);
    EXPECT_EQ(told, due) << "losses are told once each";
}

}  // namespace

const std::vector<Operation>& operations() {
    static const auto all = make_operations();
    return all;
}

void perform(World& world, const VcpuThread& thread, const Operation& operation, std::size_t steps) {
    world.run(thread, 0, false, [&](u32 vcpu) {
        for (std::size_t i = 0; i < operation.steps.size() && i < steps; ++i) operation.steps[i](world, vcpu);
        if (steps < operation.steps.size()) ::_exit(0);
    });
}

Contents contents_of_maps(World& world) {
    Contents words;
    const auto whole = [&](Map& map, u32 key) {
        std::vector<u64> value((map.syscall_value_size() + 7) / 8);
        const auto bytes = std::as_writable_bytes(std::span(value)).first(map.syscall_value_size());
        const int error = map.copy_out(&key, bytes, 0);
        EXPECT_TRUE(error == 0 || (&map == world.objects.get() && error == -ENOENT)) << error << " of key " << key;
        words.insert(words.end(), value.begin(), value.end());
    };
    for (Map* map : {world.hash.get(), world.percpu_hash.get()}) {
        auto keys = keys_of<u32>(*map);
        std::sort(keys.begin(), keys.end());
        EXPECT_TRUE(std::adjacent_find(keys.begin(), keys.end()) == keys.end()) << "a key is there twice";
        words.push_back(keys.size());
        for (const u32 key : keys) {
            words.push_back(key);
            whole(*map, key);
        }
    }
    for (Map* map : {world.array.get(), world.percpu_array.get(), world.objects.get()})
        for (u32 index = 0; index < entries; ++index) whole(*map, index);
    return words;
}

Contents contents_of_buffers(World& world) {
    Contents words;
    const auto same = [&](u64 word, u64 first) { EXPECT_EQ(word, first) << "a record is torn"; };
    read_ring(world.ring_memory(), World::ring_bytes, Reading::look, [&](const std::byte* data, u32 bytes) {
        words.push_back(word_at(data));
        EXPECT_EQ(bytes, record_bytes);
        for (u32 at = 8; at < bytes; at += 8) same(word_at(data + at), words.back());
    });
    u64 told = 0;
    read_perf(world.perf_memory(), World::perf_bytes, Reading::look, told, [&](auto&& word, u64 bytes) {
        words.push_back(word(0));
        EXPECT_EQ(bytes, sample_bytes);
        for (u64 at = 8; at + 8 <= bytes; at += 8) same(word(at), words.back());
    });
    words.push_back(told);
    words.push_back(lost_events(world));
    return words;
}

Contents contents(World& world) {
    auto words = contents_of_maps(world);
    const auto more = contents_of_buffers(world);
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

void audit(World& world, u32 variant, u64 told_before) {
    if (world.owner(0) == 1) world.owner(0) = 0;  // who had it in "take the next virtual CPU" leaves it
    const u32 first = 40 + variant;
    world.run_on(variant % 2, variant / 2 % 2 != 0, [&](u32 vcpu) {
        audit_hash<Value>(*world.hash, vcpu, first);
        audit_hash<u64>(*world.percpu_hash, vcpu, first);
        for (u32 index = 0; index < entries; ++index) {
            EXPECT_EQ(put(*world.array, index, value_of(index, 3), 0, vcpu), 0);
            EXPECT_EQ(*find<Value>(*world.array, index, vcpu), value_of(index, 3));
        }
        audit_buffers(world, vcpu, told_before);
    });
    for (u32 slot = 0; slot < World::slots; ++slot) world.run_on(slot, false, [](u32) {});
}

void Beside::work(World& world, u32 round) {
    const auto tried = [&](int error, std::initializer_list<int> also = {}) {
        if (error == 0) return true;
        EXPECT_TRUE(error == -EBUSY || std::find(also.begin(), also.end(), error) != also.end()) << error;
        ++refused;
        return false;
    };
    world.run_on(1, false, [&](u32 vcpu) {
        const auto insert_and_remove = [&]<class V>(Map& map, V value) {
            const u32 key = 40 + round % 8;
            if (!tried(put(map, key, value, 0, vcpu), {-E2BIG})) return;
            const auto* found = find<V>(map, key, vcpu);
            EXPECT_TRUE(found != nullptr && *found == value);
            EXPECT_EQ(take(map, key, vcpu), 0);
        };
        insert_and_remove(*world.hash, value_of(40, round));
        insert_and_remove(*world.percpu_hash, u64{round});
        const u32 old = 1;
        if (find<Value>(*world.hash, old) != nullptr && tried(put(*world.hash, old, value_of(old, 5), 0, vcpu))) {
            EXPECT_EQ(put(*world.hash, old, value_of(old, 1), 0, vcpu), 0);
        }
        bool wake = false;
        if (tried(world.records().output(eights.data(), record_bytes, 0, vcpu, &wake), {-EAGAIN})) ++written;
        if (tried(world.perf->output(sample(eights), vcpu, &wake), {-ENOSPC})) ++written;
    });
    read_all(world);
}

void Beside::read_all(World& world) {
    read_ring(world.ring_memory(), World::ring_bytes, Reading::consume,
              [&](const std::byte* data, u32) { read += word_at(data) == eights[0]; });
    read_perf(world.perf_memory(), World::perf_bytes, Reading::consume, told,
              [&](auto&& word, u64) { read += word(0) == eights[0]; });
}

}  // namespace anybpf::maps::testing
