// SPDX-License-Identifier: Apache-2.0
// The files of maps and perf buffers as a hostile process may leave them, or change them under an operation: whatever
// they hold, opening and every operation ends, inside the file's memory. The input is a choice of type and sizes, then
// steps: words written into the file or into the table of virtual CPUs, and operations.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "anybpf/base/fd.hpp"
#include "anybpf/maps/map.hpp"
#include "anybpf/maps/ring.hpp"

using namespace anybpf;
using abi::MapType;

namespace {
constexpr u32 slots = 2;
constexpr std::size_t page = 4096;

class Input {
  public:
    Input(const u8* data, std::size_t size) : data_(data), size_(size) {}
    bool empty() const { return size_ == 0; }
    template <class T>
    T take() {
        T value{};
        const std::size_t count = size_ < sizeof value ? size_ : sizeof value;
        std::memcpy(&value, data_, count);
        data_ += count;
        size_ -= count;
        return value;
    }

  private:
    const u8* data_;
    std::size_t size_;
};

// Memory between two pages that nobody may touch.
class Guarded {
  public:
    explicit Guarded(std::size_t size) : size_((size + page - 1) / page * page) {
        void* at = ::mmap(nullptr, size_ + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) std::abort();
        at_ = static_cast<std::byte*>(at);
        ::mprotect(at_ + page, size_, PROT_READ | PROT_WRITE);
    }
    ~Guarded() { ::munmap(at_, size_ + 2 * page); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    std::span<std::byte> bytes() const { return {at_ + page, size_}; }

  private:
    std::byte* at_;
    std::size_t size_;
};

// A word of the file or of the table; most often near the end, where headers and lines lie.
void poke(std::span<std::byte> memory, Input& in) {
    const auto where = in.take<u32>();
    const auto value = in.take<u32>();
    const std::size_t cells = memory.size() / 4, last = cells < 4096 ? cells : 4096;
    const std::size_t cell = (where & 1) != 0 ? cells - 1 - (where >> 1) % last : (where >> 1) % cells;
    std::memcpy(memory.data() + cell * 4, &value, sizeof value);
}

maps::Spec spec_from(Input& in) {
    constexpr std::array types{MapType::array,       MapType::hash,       MapType::percpu_array,
                               MapType::percpu_hash, MapType::prog_array, MapType::perf_event_array,
                               MapType::ringbuf};
    maps::Spec spec;
    const auto choice = in.take<u8>();
    spec.type = types[choice % types.size()];
    const auto sizes = in.take<u8>();
    spec.key_size = spec.type == MapType::hash || spec.type == MapType::percpu_hash ? 1 + sizes % 20 : 4;
    spec.value_size = choice % types.size() >= 4 ? 4 : 1 + sizes / 4;
    spec.max_entries = 1 + in.take<u8>() % 40;
    if (spec.type == MapType::ringbuf) {
        spec.key_size = spec.value_size = 0;
        spec.max_entries = 4096;
    }
    return spec;
}

void drive(maps::Map& map, std::span<std::byte> memory, std::span<std::byte> table, Input& in) {
    std::vector<std::byte> key(map.spec().key_size + 8), next(key.size()), value(map.spec().value_size + 8);
    std::vector<std::byte> all(map.syscall_value_size());
    maps::RingBuffer* ring = maps::RingBuffer::of(map);
    bool wake = false;
    for (u32 steps = 0; steps < 40 && !in.empty(); ++steps) {
        const auto step = in.take<u8>();
        const u32 vcpu = step >> 7;
        key[0] = static_cast<std::byte>(step >> 4 & 7);
        switch (step % 16) {
            case 0:
            case 1:
                poke(memory, in);
                break;
            case 2:
                poke(table, in);
                break;
            case 3:
            case 4:
                map.update(key.data(), value.data(), 0, vcpu);
                break;
            case 5:
                map.erase(key.data(), vcpu);
                break;
            case 6:
                if (auto* found = static_cast<std::byte*>(map.lookup(key.data(), vcpu)))
                    for (u32 i = 0; i < map.spec().value_size; ++i) found[i] = std::byte{1};
                break;
            case 7:
                map.copy_out(key.data(), all, vcpu);
                break;
            case 8:
                map.copy_in(key.data(), all, step >> 5 & 3, vcpu);
                break;
            case 9: {
                u32 count = 0;
                for (int error = map.next_key(nullptr, next.data()); error == 0 && ++count < 64;)
                    error = map.next_key(next.data(), next.data());
                break;
            }
            case 10:
                map.recover(vcpu);
                break;
            case 11:
                if (step >> 4 == 15) map.freeze();
                break;
            case 12:
            case 13:
                if (ring != nullptr) {
                    const u64 size = (step >> 4 & 7) * 500;
                    if (void* record = ring->reserve(size, vcpu)) {
                        std::memset(record, 1, size);
                        if (step % 16 == 12) ring->commit(record, (step & 64) != 0, 0, vcpu);
                    }
                }
                break;
            case 14:
                if (ring != nullptr) ring->output(all.data(), 0, 0, vcpu, &wake);
                if (ring != nullptr) ring->query(step >> 4 & 3);
                break;
            default:
                if (ring != nullptr) ring->discard_dead(vcpu);
                break;
        }
    }
}

void fuzz_map(Input& in, maps::VcpuTable table, std::span<std::byte> table_memory) {
    const auto spec = spec_from(in);
    const auto size = maps::Map::file_size(spec, slots);
    if (!size) std::abort();  // all of these are sound
    if (spec.type == MapType::ringbuf) {
        const Fd fd(::memfd_create("fuzz", MFD_CLOEXEC));
        if (::ftruncate(fd.get(), static_cast<off_t>(*size)) != 0) std::abort();
        auto flat = Mapping::shared(fd.get(), *size, Access::read_write);
        if (!flat || !maps::Map::format(flat->bytes(), spec, 1, slots)) std::abort();
        if (in.take<u8>() % 4 == 0) poke(flat->bytes(), in);
        auto mapping = maps::map_file(fd.get());
        if (!mapping) return;
        auto map = maps::Map::open(mapping->bytes(), table);
        if (map) drive(**map, mapping->bytes(), table_memory, in);
        return;
    }
    const Guarded memory(*size);
    if (!maps::Map::format(memory.bytes(), spec, 1, slots)) std::abort();
    if (in.take<u8>() % 4 == 0) poke(memory.bytes(), in);
    auto map = maps::Map::open(memory.bytes(), table);
    if (map) drive(**map, memory.bytes(), table_memory, in);
}

void fuzz_perf(Input& in, maps::VcpuTable table, std::span<std::byte> table_memory) {
    const u32 pages = 1U << in.take<u8>() % 3;
    const Guarded memory(maps::PerfBuffer::file_size(pages));
    if (!maps::PerfBuffer::format(memory.bytes(), pages)) std::abort();
    if (in.take<u8>() % 4 == 0) poke(memory.bytes(), in);
    auto buffer = maps::PerfBuffer::open(memory.bytes(), table);
    std::array<std::byte, 5000> raw{};
    bool wake = false;
    for (u32 steps = 0; buffer && steps < 40 && !in.empty(); ++steps) {
        const auto step = in.take<u8>();
        if (step % 4 == 0)
            poke(memory.bytes(), in);
        else if (step % 4 == 1)
            poke(table_memory, in);
        else
            (*buffer)->output(std::span(raw).first(step % 16 * 300), step >> 7, &wake);
    }
}

// Nothing of ours in it but what the fuzzer finds.
void fuzz_bytes(Input& in, maps::VcpuTable table) {
    const Guarded memory((1 + in.take<u8>() % 4) * page);
    while (!in.empty()) poke(memory.bytes(), in);
    if (auto map = maps::Map::open(memory.bytes(), table)) {
        std::array<std::byte, 64> nothing{};
        Input steps(static_cast<const u8*>(static_cast<const void*>(nothing.data())), nothing.size());
        drive(**map, memory.bytes(), memory.bytes(), steps);
    }
    static_cast<void>(maps::PerfBuffer::open(memory.bytes(), table));
    static_cast<void>(maps::VcpuTable::open(memory.bytes()));
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    Input in(data, size);
    const Guarded table_memory(maps::VcpuTable::bytes(slots));
    maps::VcpuTable::format(table_memory.bytes(), slots);
    const auto table = maps::VcpuTable::open(table_memory.bytes());
    if (!table) std::abort();
    const auto owned = table_memory.bytes().first(maps::VcpuTable::bytes(slots));
    const auto kind = in.take<u8>() % 8;
    if (kind == 0)
        fuzz_bytes(in, *table);
    else if (kind == 1)
        fuzz_perf(in, *table, owned);
    else
        fuzz_map(in, *table, owned);
    return 0;
}
