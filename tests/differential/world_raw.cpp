// SPDX-License-Identifier: Apache-2.0
// Raw because maps lie in files of memory, and engines hand back the addresses that they were bound to. It is safe
// because the files are the world's own, and no one else has those addresses.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anybpf/base/fd.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/helpers/safe_memory.hpp"
#include "anybpf/maps/map.hpp"
#include "anybpf/maps/ring.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "guarded_raw.hpp"
#include "world.hpp"

namespace anybpf::differential {
namespace {

constexpr u32 vcpus = 4;
constexpr u32 ethernet_header = 14, max_packet = 96, sk_buff_bytes = 192;
constexpr std::size_t stack_bytes = 64U << 10;

Result<Fd> memory_file(std::size_t size) {
    Fd fd(::memfd_create("anybpf-differential", MFD_CLOEXEC));
    if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_errno("memory for a map");
    return fd;
}
Result<std::span<std::byte>> shared_memory(std::size_t size) {
    const Fd fd = ANYBPF_TRY(memory_file(size));
    return ANYBPF_TRY(Mapping::shared(fd.get(), size, Access::read_write)).release();
}

Result<std::unique_ptr<maps::Map>> make_map(const program::MapInfo& info, u32 id, maps::VcpuTable table) {
    maps::Spec spec;
    spec.type = info.type;
    spec.key_size = info.key_size;
    spec.value_size = info.value_size;
    spec.max_entries = info.max_entries;
    const std::size_t size = ANYBPF_TRY(maps::Map::file_size(spec, table.count()));
    const Fd fd = ANYBPF_TRY(memory_file(size));
    const Mapping flat = ANYBPF_TRY(Mapping::shared(fd.get(), size, Access::read_write));
    ANYBPF_TRY(maps::Map::format(flat.bytes(), spec, id, table.count()));
    return maps::Map::open(ANYBPF_TRY(maps::map_file(fd.get())).release(), table);
}

// As helpers and tail_target find it.
struct Host : helpers::Environment, helpers::Host {
    Host() { host = this; }
    maps::PerfBuffer* perf_buffer(maps::Map&, u32) override { return nullptr; }
    void wake(maps::Map&) override { ++wakes; }
    void wake(maps::PerfBuffer&) override {}
    i64 system_call(i64, u64, u64, u64, u64) override { return -ENOSYS; }
    std::array<const void*, target_count> targets{};
    u32 wakes = 0;
};

const void* tail_target(abi::Run& run, u64, u32 index) {
    const auto& host = *static_cast<const Host*>(static_cast<helpers::Environment*>(run.environment));
    return index < target_count ? host.targets[index] : nullptr;
}

template <bool far, bool plain>
constexpr engine::AnyEngine jit = {.name = plain ? "jit-plain" : engine::Jit::name,
                                   .bind = [](const program::Lowered& lowered, std::span<const engine::BoundMap> maps,
                                              const abi::HelperBodies* helpers) -> Result<std::shared_ptr<const void>> {
                                       const engine::JitOptions options{.memory = far ? &far_code_memory() : nullptr,
                                                                        .plain = plain};
                                       return ANYBPF_TRY(engine::Jit::bind(lowered, maps, helpers, options));
                                   },
                                   .run = engine::any<engine::Jit>.run};

}  // namespace

const engine::AnyEngine* engine_named(std::string_view name, bool chaos) {
    for (const engine::AnyEngine* row :
         {&engine::any<engine::Interpreter>, chaos ? &jit<true, false> : &jit<false, false>,
          chaos ? &jit<true, true> : &jit<false, true>, &engine::any<engine::Llvm>})
        if (row->name == name) return row;
    return nullptr;
}

Input::Input(u64 seed, abi::ProgType type) {
    Random random(seed);
    const auto fill = [&](std::span<std::byte> bytes) {
        for (std::size_t i = 0; i < bytes.size(); i += 8) {
            const u64 value = random.value();
            std::memcpy(bytes.data() + i, &value, std::min<std::size_t>(8, bytes.size() - i));
        }
    };
    fill(data);
    for (Value& value : values) fill(value);
    if (type == abi::ProgType::raw_tracepoint) {
        for (u32 i = 0; i < 12; ++i) context[i] = random.value();
        return;
    }
    packet.resize(ethernet_header + random.below(max_packet - ethernet_header));
    fill(packet);
    std::fill_n(packet.begin(), 6, std::byte{0});                // to the loopback device
    packet[12] = std::byte{0x88}, packet[13] = std::byte{0xb5};  // no protocol that Linux looks into
    const std::array<u32, 5> fields = {static_cast<u32>(packet.size()) - ethernet_header, 0, 0, 0, 0xb588};
    std::memcpy(context.data(), fields.data(), sizeof fields);
}

std::string difference(const Outcome& actual, const Outcome& expected) {
    std::string text;
    const auto number = [&](std::string_view what, u64 a, u64 b) {
        if (a != b) text += fmt::format("{}{}: {:#x}, not {:#x}", text.empty() ? "" : "; ", what, a, b);
    };
    const auto values = [&](std::string_view what, std::span<const Value> a, std::span<const Value> b) {
        for (u32 i = 0; i < a.size(); ++i)
            for (u32 at = 0; at < value_bytes; at += 8) {
                u64 x = 0, y = 0;
                std::memcpy(&x, a[i].data() + at, 8);
                std::memcpy(&y, b[i].data() + at, 8);
                number(fmt::format("{}[{}]+{}", what, i, at), x, y);
            }
    };
    number("r0", actual.r0, expected.r0);
    number("gave up", actual.gave_up, expected.gave_up);
    number("values of other CPUs", actual.others_touched, expected.others_touched);
    for (u32 i = 0; i < actual.data.size(); ++i) {
        const u32 at = 8 * i;
        const bool is_register = at >= registers_at && at < registers_at + 80;
        number(is_register ? fmt::format("r{} at the end", (at - registers_at) / 8) : fmt::format("data+{}", at),
               actual.data[i], expected.data[i]);
    }
    values("table", actual.table, expected.table);
    values("cells", actual.cells, expected.cells);
    values("percpu", actual.percpu, expected.percpu);
    for (u32 key = 0; key < keys; ++key) {
        number(fmt::format("hash has {}", key), actual.hash_has[key], expected.hash_has[key]);
        number(fmt::format("percpu_hash has {}", key), actual.percpu_hash_has[key], expected.percpu_hash_has[key]);
    }
    values("hash", actual.hash, expected.hash);
    values("percpu_hash", actual.percpu_hash, expected.percpu_hash);
    number("bytes of records", actual.records.size(), expected.records.size());
    const auto [a, b] = std::ranges::mismatch(actual.records, expected.records);
    if (a != actual.records.end() && b != expected.records.end())
        number(fmt::format("records+{}", a - actual.records.begin()), static_cast<u64>(*a), static_cast<u64>(*b));
    number("wakes", actual.wakes, expected.wakes);
    return text;
}

// --------------------------------------------------------------------------------------------------------------- World

struct World::Parts {
    maps::VcpuTable table;
    u32 vcpu = 0;
    std::array<std::unique_ptr<maps::Map>, map_count> maps;
    Guarded context, packet, data_memory, table_memory, stack;
    bool chaos, in_front = false;
    helpers::Thread thread;
    std::vector<engine::BoundMap> bound{map_count};
    // What tail calls lead to: for each engine, program type and place of the maps.
    struct Targets {
        const engine::AnyEngine* engine;
        abi::ProgType type;
        bool in_front;
        std::array<Bound, target_count> programs;
    };
    std::vector<std::unique_ptr<const Targets>> targets;

    void fill(const Input& input);
    Result<const Targets*> targets_of(const engine::AnyEngine& engine, const World& world, abi::ProgType type);
    void read(Outcome& outcome, const Input& input);
    std::span<std::byte> data() const { return {bound[MapIndex::data].values, data_bytes}; }
};

World::World(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
World::~World() = default;

Result<std::unique_ptr<World>> World::make(bool chaos) {
    ANYBPF_TRY(helpers::install_fault_handler());
    const auto memory = ANYBPF_TRY(shared_memory(maps::VcpuTable::bytes(vcpus)));
    maps::VcpuTable::format(memory, vcpus);
    auto table = ANYBPF_TRY(maps::VcpuTable::open(memory));
    const auto claim = table.acquire(maps::VcpuThread::current());
    if (!claim) return fail(Errc::busy, "no virtual CPU is free");
    auto parts =
        std::unique_ptr<Parts>(new Parts{.table = table,
                                         .vcpu = claim->slot,
                                         .maps = {},
                                         .context = ANYBPF_TRY(Guarded::make(sk_buff_bytes)),
                                         .packet = ANYBPF_TRY(Guarded::make(max_packet)),
                                         .data_memory = ANYBPF_TRY(Guarded::make(data_bytes)),
                                         .table_memory = ANYBPF_TRY(Guarded::make(array_entries * value_bytes)),
                                         .stack = ANYBPF_TRY(Guarded::make(stack_bytes)),
                                         .chaos = chaos,
                                         .thread = {},
                                         .targets = {}});
    parts->thread.pid = static_cast<u32>(::getpid());
    parts->thread.tid = static_cast<u32>(::syscall(SYS_gettid));
    const auto infos = make_target(0, abi::ProgType::raw_tracepoint).maps;
    for (u32 i = 0; i < map_count; ++i) {
        parts->maps[i] = ANYBPF_TRY(make_map(infos[i], i + 1, table));
        maps::Map& map = *parts->maps[i];
        parts->bound[i] = {.map = &map, .values = map.values(), .array = map.array()};
    }
    return std::unique_ptr<World>(new World(std::move(parts)));
}

void World::guard(bool in_front) {
    Parts& parts = *parts_;
    if (!parts.chaos) return;
    parts.in_front = in_front;
    const auto move = [&](MapIndex map, std::span<std::byte> values) {
        parts.bound[map].values = parts.bound[map].array.values = values.data();
    };
    move(data, parts.data_memory.part(data_bytes, in_front));
    move(table, parts.table_memory.part(array_entries * value_bytes, in_front));
}

void World::Parts::fill(const Input& input) {
    std::ranges::copy(input.data, data().begin());
    std::memcpy(bound[MapIndex::table].values, input.values.data(), sizeof input.values);
    std::memcpy(bound[MapIndex::cells].values, input.values.data(), sizeof input.values);
    for (u32 cpu = 0; cpu < vcpus; ++cpu)
        for (u32 i = 0; i < percpu_entries; ++i)
            std::memcpy(maps[MapIndex::percpu]->lookup(&i, cpu), input.values[i].data(), value_bytes);
    for (u32 key = 0; key < keys; ++key)
        for (const MapIndex map : {MapIndex::hash, MapIndex::percpu_hash}) maps[map]->erase(&key, vcpu);
    for (u32 key = 0; key < 2; ++key)
        for (const MapIndex map : {MapIndex::hash, MapIndex::percpu_hash})
            maps[map]->update(&key, input.values[key].data(), abi::update_any, vcpu);
    maps::RingBuffer& records = *maps::RingBuffer::of(*maps[MapIndex::ring]);
    while (records.front()) records.pop();
}

void World::Parts::read(Outcome& outcome, const Input& input) {
    std::memcpy(outcome.data.data(), data().data(), data_bytes);
    std::memcpy(outcome.table.data(), bound[MapIndex::table].values, sizeof outcome.table);
    std::memcpy(outcome.cells.data(), bound[MapIndex::cells].values, sizeof outcome.cells);
    for (u32 i = 0; i < percpu_entries; ++i) {
        std::memcpy(outcome.percpu[i].data(), maps[MapIndex::percpu]->lookup(&i, vcpu), value_bytes);
        for (u32 cpu = 0; cpu < vcpus; ++cpu)
            outcome.others_touched |= cpu != vcpu && std::memcmp(maps[MapIndex::percpu]->lookup(&i, cpu),
                                                                 input.values[i].data(), value_bytes) != 0;
    }
    const auto read_hash = [&](MapIndex map, auto& has, auto& values) {
        for (u32 key = 0; key < keys; ++key)
            if (const void* value = maps[map]->lookup(&key, vcpu)) {
                has[key] = 1;
                std::memcpy(values[key].data(), value, value_bytes);
            }
    };
    read_hash(MapIndex::hash, outcome.hash_has, outcome.hash);
    read_hash(MapIndex::percpu_hash, outcome.percpu_hash_has, outcome.percpu_hash);
    maps::RingBuffer& records = *maps::RingBuffer::of(*maps[MapIndex::ring]);
    for (auto record = records.front(); record; records.pop(), record = records.front()) {
        outcome.records.push_back(static_cast<std::byte>(record->size()));
        outcome.records.insert(outcome.records.end(), record->begin(), record->end());
    }
}

Result<const World::Parts::Targets*> World::Parts::targets_of(const engine::AnyEngine& engine, const World& world,
                                                              abi::ProgType type) {
    for (const auto& known : targets)
        if (known->engine == &engine && known->type == type && known->in_front == in_front) return known.get();
    auto added = std::make_unique<Targets>();
    *added = {.engine = &engine, .type = type, .in_front = in_front, .programs = {}};
    for (u32 i = 0; i < target_count; ++i) {
        const auto program = make_target(i, type);
        const auto report = verifier::verify(program, {});
        if (!report.accepted) return fail(Errc::rejected, verifier::explain(report, program));
        const auto lowered = ANYBPF_TRY(engine::lower(program, report.proof));
        added->programs[i] = ANYBPF_TRY(world.bind(engine, lowered));
    }
    return targets.emplace_back(std::move(added)).get();
}

Result<Bound> World::bind(const engine::AnyEngine& engine, const program::Lowered& lowered) const {
    return engine.bind(lowered, parts_->bound, &helpers::bodies());
}

std::vector<Bound> World::bind_all(const engine::AnyEngine& engine,
                                   std::span<const program::Lowered* const> programs) const {
    if (&engine != &engine::any<engine::Llvm>) return {};
    const auto bound = engine::Llvm::bind_all(programs, parts_->bound, &helpers::bodies());
    return bound ? std::vector<Bound>(bound->begin(), bound->end()) : std::vector<Bound>();
}

Result<Outcome> World::run(const engine::AnyEngine& engine, const Bound& bound, const Input& input,
                           abi::ProgType type) {
    const Parts::Targets* const targets = ANYBPF_TRY(parts_->targets_of(engine, *this, type));
    parts_->fill(input);
    const bool raw = type == abi::ProgType::raw_tracepoint;
    const auto context = parts_->context.part(raw ? 12 * sizeof(u64) : sk_buff_bytes, parts_->in_front);
    std::memcpy(context.data(), input.context.data(), context.size());
    const auto packet = parts_->packet.part(input.packet.size(), parts_->in_front);
    std::ranges::copy(input.packet, packet.begin());

    Host host;
    host.thread = &parts_->thread;
    for (u32 i = 0; i < target_count; ++i) host.targets[i] = targets->programs[i].get();
    abi::Run run;
    run.context = context.data();
    run.vcpu = parts_->vcpu;
    run.environment = static_cast<helpers::Environment*>(&host);
    run.helpers = &helpers::bodies();
    run.tail_target = tail_target;
    if (!raw) run.packet = {.bytes = packet, .first = ethernet_header, .network = ethernet_header};
    ANYBPF_TRY(seal_far_code());
    Outcome outcome;
    const auto frames = ANYBPF_TRY(guarded_frames(parts_->in_front));
    const bool apart = parts_->chaos && engine.run == engine::any<engine::Interpreter>.run;
    const auto body = [&] {
        const auto* const interpreted = static_cast<const engine::Executable*>(bound.get());
        outcome.r0 = apart ? engine::Interpreter::run_in(frames, *interpreted, run) : engine.run(bound.get(), run, 0);
    };
    if (parts_->chaos)
        call_on(parts_->stack.bytes(), body);
    else
        body();
    outcome.gave_up = run.gave_up;
    outcome.wakes = host.wakes;
    parts_->read(outcome, input);
    return outcome;
}

}  // namespace anybpf::differential
