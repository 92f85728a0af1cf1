// SPDX-License-Identifier: Apache-2.0
// Raw because bpf(2) has no wrapper in libc and takes addresses as numbers. Every buffer named in an attribute outlives
// the call that uses it, and its size is passed with it.
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "anybpf/base/mapping.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/program/flow.hpp"
#include "live_kernel.hpp"

namespace anybpf::differential {
namespace {

constexpr u32 page = 4096;

u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }
int bpf(bpf_cmd command, bpf_attr& attr) { return static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof(attr))); }

u32 possible_cpus() {
    std::ifstream in("/sys/devices/system/cpu/possible");  // 0-3
    u32 first = 0, last = 0;
    char dash = 0;
    in >> first;
    return in >> dash >> last ? last + 1 : first + 1;
}

// The verifier of Linux 6.18.44 writes to memory that is not there (in __mark_chain_precision) on some programs where a
// called function loads from the packet.
bool crashes_kernel(const program::Program& program) {
    const auto starts = program::find_flow(program.insns).starts;
    if (starts.size() < 2) return false;
    return std::ranges::any_of(std::span(program.insns).subspan(starts[1]), [](const isa::Insn& insn) {
        const u8 mode = insn.code & 0xe0;
        return (insn.code & 7) == isa::class_ld && (mode == isa::mode_abs || mode == isa::mode_ind);
    });
}

bool is_mapped(u32 map) { return map == data || map == table || map == cells; }

}  // namespace

struct LiveKernel::Parts {
    std::array<Fd, map_count> maps;
    Fd raw_progs;  // programs of a PROG_ARRAY are of one type: progs of raw tracepoints
    Fd btf;
    std::array<std::span<std::byte>, map_count> memory;  // of the arrays
    // Of ring: where its reader says how far it is, and where the kernel says so, the data behind it twice.
    std::atomic<u64>* consumer = nullptr;
    const std::atomic<u64>* producer = nullptr;
    std::vector<Fd> targets;
    u32 cpus = 1;

    long element(bpf_cmd command, MapIndex map, u32 key, const void* value) const {
        bpf_attr attr{};
        attr.map_fd = static_cast<u32>(maps[map].get());
        attr.key = address(&key);
        attr.value = address(value);
        return bpf(command, attr);
    }
    // Of a per-CPU map; a CPU that ran the program has another value than was given to all, or all have the same.
    Value percpu_value(std::span<const Value> values, const Value& given) const {
        for (const Value& value : values)
            if (value != given) return value;
        return given;
    }
    Result<> map_ring();
    void fill(const Input& input) const;
    void read_ring(Outcome& outcome) const;
    void read(Outcome& outcome, const Input& input) const;
};

LiveKernel::LiveKernel(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
LiveKernel::~LiveKernel() = default;

Result<std::unique_ptr<LiveKernel>> LiveKernel::make() {
    auto parts = std::make_unique<Parts>();
    parts->cpus = possible_cpus();
    const auto program = make_target(0, abi::ProgType::raw_tracepoint);
    const auto create = [](const program::MapInfo& info, u32 flags) -> Result<Fd> {
        bpf_attr attr{};
        attr.map_type = static_cast<u32>(info.type);
        attr.key_size = info.key_size;
        attr.value_size = info.value_size;
        attr.max_entries = info.max_entries;
        attr.map_flags = flags;
        const int fd = bpf(BPF_MAP_CREATE, attr);
        if (fd < 0) return fail_errno("bpf(2) does not create maps here", info.name);
        return Fd(fd);
    };
    for (u32 i = 0; i < map_count; ++i) {
        parts->maps[i] = ANYBPF_TRY(create(program.maps[i], is_mapped(i) ? u32{BPF_F_MMAPABLE} : 0));
        if (is_mapped(i))
            parts->memory[i] = ANYBPF_TRY(Mapping::shared(parts->maps[i].get(), page, Access::read_write)).release();
    }
    ANYBPF_TRY(parts->map_ring());
    parts->raw_progs = ANYBPF_TRY(create(program.maps[progs], 0));
    bpf_attr attr{};
    attr.btf = address(program.btf->bytes().data());
    attr.btf_size = static_cast<u32>(program.btf->bytes().size());
    parts->btf = Fd(bpf(BPF_BTF_LOAD, attr));
    if (!parts->btf.valid()) return fail_errno("bpf(2) does not load BTF here");
    auto kernel = std::unique_ptr<LiveKernel>(new LiveKernel(std::move(parts)));
    for (const auto type : {abi::ProgType::socket_filter, abi::ProgType::raw_tracepoint})
        for (u32 i = 0; i < target_count; ++i) {
            Fd target = ANYBPF_TRY(kernel->load(make_target(i, type)));
            const auto fd = static_cast<u32>(target.get());
            const bool raw = type == abi::ProgType::raw_tracepoint;
            attr = {};
            attr.map_fd = static_cast<u32>((raw ? kernel->parts_->raw_progs : kernel->parts_->maps[progs]).get());
            attr.key = address(&i);
            attr.value = address(&fd);
            if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return fail_errno("fill a PROG_ARRAY in the kernel");
            kernel->parts_->targets.push_back(std::move(target));
        }
    return kernel;
}

Result<Fd> LiveKernel::load(const program::Program& program) const {
    if (crashes_kernel(program)) return fail(Errc::unsupported, "a called function loads from the packet");
    std::vector<isa::Insn> insns = program.insns;
    for (std::size_t pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        isa::Insn& insn = insns[pc];
        if (insn.code != isa::code_wide || (insn.src != BPF_PSEUDO_MAP_IDX && insn.src != BPF_PSEUDO_MAP_IDX_VALUE))
            continue;
        const auto map = static_cast<u32>(insn.imm);
        if (map >= map_count) return fail(Errc::invalid_argument, "there is no such map");
        const bool raw = map == progs && program.type == abi::ProgType::raw_tracepoint;
        insn.imm = (raw ? parts_->raw_progs : parts_->maps[map]).get();
        insn.src = insn.src == BPF_PSEUDO_MAP_IDX ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
    }
    bpf_attr attr{};
    attr.prog_type = static_cast<u32>(program.type);
    attr.insns = address(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = address("GPL");
    attr.prog_btf_fd = static_cast<u32>(parts_->btf.get());
    attr.func_info = address(program.funcs.data());
    attr.func_info_rec_size = sizeof(program::FuncInfo);
    attr.func_info_cnt = static_cast<u32>(program.funcs.size());
    if (const int fd = bpf(BPF_PROG_LOAD, attr); fd >= 0) return Fd(fd);
    // Only now is the log worth its time.
    std::string log(1U << 20, '\0');
    attr.log_level = 1;
    attr.log_buf = address(log.data());
    attr.log_size = static_cast<u32>(log.size());
    const int fd = bpf(BPF_PROG_LOAD, attr);
    const int error = errno;
    if (fd >= 0) return Fd(fd);
    log.resize(std::strlen(log.c_str()));
    // The last line is its statistics', and the one before says why.
    const std::size_t end = log.rfind("\nprocessed "), start = log.rfind('\n', end - 1);
    if (end == std::string::npos) return fail(Errc::rejected, std::strerror(error), error);
    return fail(Errc::rejected, log.substr(start + 1, end - start - 1), error);
}

Result<> LiveKernel::Parts::map_ring() {
    void* const own = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, maps[ring].get(), 0);
    void* const rest = ::mmap(nullptr, page + 2 * ring_bytes, PROT_READ, MAP_SHARED, maps[ring].get(), page);
    if (own == MAP_FAILED || rest == MAP_FAILED) return fail_errno("mmap of a ring buffer in the kernel");
    consumer = static_cast<std::atomic<u64>*>(own);
    producer = static_cast<const std::atomic<u64>*>(rest);
    return {};
}

void LiveKernel::Parts::fill(const Input& input) const {
    consumer->store(producer->load());
    std::ranges::copy(input.data, memory[data].begin());
    std::memcpy(memory[table].data(), input.values.data(), sizeof input.values);
    std::memcpy(memory[cells].data(), input.values.data(), sizeof input.values);
    for (u32 key = 0; key < keys; ++key)
        for (const MapIndex map : {hash, percpu_hash}) element(BPF_MAP_DELETE_ELEM, map, key, nullptr);
    std::vector<Value> values(cpus);
    for (u32 key = 0; key < percpu_entries; ++key) {
        std::ranges::fill(values, input.values[key]);
        element(BPF_MAP_UPDATE_ELEM, percpu, key, values.data());
        element(BPF_MAP_UPDATE_ELEM, percpu_hash, key, values.data());
        element(BPF_MAP_UPDATE_ELEM, hash, key, values.data());
    }
}

// All of them are finished: the program has ended.
void LiveKernel::Parts::read_ring(Outcome& outcome) const {
    const std::byte* const records = reinterpret_cast<const std::byte*>(producer) + page;
    u64 at = consumer->load();
    while (at < producer->load()) {
        u32 length = 0;
        const std::byte* const record = records + at % ring_bytes;
        std::memcpy(&length, record, sizeof length);
        const u32 size = length & ~u32{BPF_RINGBUF_DISCARD_BIT};
        if (size == length) {
            outcome.records.push_back(static_cast<std::byte>(size));
            outcome.records.insert(outcome.records.end(), record + BPF_RINGBUF_HDR_SZ,
                                   record + BPF_RINGBUF_HDR_SZ + size);
        }
        at += (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    }
}

void LiveKernel::Parts::read(Outcome& outcome, const Input& input) const {
    std::memcpy(outcome.data.data(), memory[data].data(), data_bytes);
    std::memcpy(outcome.table.data(), memory[table].data(), sizeof outcome.table);
    std::memcpy(outcome.cells.data(), memory[cells].data(), sizeof outcome.cells);
    std::vector<Value> values(cpus);
    for (u32 key = 0; key < percpu_entries; ++key) {
        element(BPF_MAP_LOOKUP_ELEM, percpu, key, values.data());
        outcome.percpu[key] = percpu_value(values, input.values[key]);
    }
    for (u32 key = 0; key < keys; ++key) {
        outcome.hash_has[key] = element(BPF_MAP_LOOKUP_ELEM, hash, key, outcome.hash[key].data()) == 0;
        outcome.percpu_hash_has[key] = element(BPF_MAP_LOOKUP_ELEM, percpu_hash, key, values.data()) == 0;
        // An element that the program made holds zeros for the other CPUs.
        const Value others = key < 2 && std::ranges::count(values, input.values[key]) > 0 ? input.values[key] : Value{};
        if (outcome.percpu_hash_has[key] != 0) outcome.percpu_hash[key] = percpu_value(values, others);
    }
}

Result<Outcome> LiveKernel::run(const Fd& program, const Input& input, abi::ProgType type) {
    parts_->fill(input);
    bpf_attr attr{};
    attr.test.prog_fd = static_cast<u32>(program.get());
    if (type == abi::ProgType::raw_tracepoint) {
        attr.test.ctx_in = address(input.context.data());
        attr.test.ctx_size_in = 12 * sizeof(u64);
    } else {
        attr.test.data_in = address(input.packet.data());
        attr.test.data_size_in = static_cast<u32>(input.packet.size());
    }
    if (bpf(BPF_PROG_TEST_RUN, attr) != 0) return fail_errno("run in the kernel");
    Outcome outcome;
    outcome.r0 = attr.test.retval;
    parts_->read(outcome, input);
    parts_->read_ring(outcome);
    return outcome;
}

}  // namespace anybpf::differential
