// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <tuple>

namespace anybpf::hooks {
namespace {

constexpr u32 raw_arguments_size = 2 * sizeof(u64), registers_size = 21 * sizeof(u64);

struct Placed {
    Attached attached;
    bool entry = false;
    bool every_number = false;
    u32 number = 0;
    // The kernel's order at one event: the tracepoint on the way in, then the function; the function's return, then the
    // tracepoint. Within each, as attached.
    u32 stage = 0;
    u64 created_ns = 0;
};

bool fits(const kernel::Attachment& link, const LoadedProgram& program, Placed& placed) {
    placed.attached.program = &program;
    placed.attached.cookie = link.cookie;
    placed.attached.pid = link.pid;
    placed.created_ns = link.created_ns;
    const abi::TracepointId point{link.hook_id};
    switch (link.kind) {
        case kernel::HookKind::tracepoint:
        case kernel::HookKind::raw_tracepoint: {
            const bool raw = link.kind == kernel::HookKind::raw_tracepoint;
            if (!abi::tracepoint_exists(point) || (raw && !abi::is_raw(point))) return false;
            placed.entry = abi::is_entry(point);
            placed.every_number = abi::is_raw(point);
            placed.number = placed.every_number ? 0 : abi::number_of(point);
            placed.stage = placed.entry ? 0 : 1;
            placed.attached.view = raw ? View::arguments : View::record;
            placed.attached.common_type = point.v;
            placed.attached.context_bytes = raw ? raw_arguments_size : abi::record_size(point);
            return program.context_bytes <= placed.attached.context_bytes &&
                   program.type == (raw ? abi::ProgType::raw_tracepoint : abi::ProgType::tracepoint);
        }
        case kernel::HookKind::syscall_entry:
        case kernel::HookKind::syscall_return:
            placed.entry = link.kind == kernel::HookKind::syscall_entry;
            placed.number = link.hook_id;
            placed.stage = placed.entry ? 1 : 0;
            placed.attached.view = View::registers;
            placed.attached.context_bytes = registers_size;
            return program.context_bytes <= registers_size && link.hook_id < abi::syscall_numbers &&
                   program.type == abi::ProgType::kprobe;
        case kernel::HookKind::none:
            return false;
    }
    return false;
}

std::vector<Placed> place_links(const kernel::Root& root, Loader& loader, u32 tree) {
    std::vector<Placed> all;
    for (const auto& link : root.attachments()) {
        if (!link.enabled || link.prog_id == 0 || (link.tree != 0 && link.tree != tree)) continue;
        Placed placed;
        const auto* program = loader.program(link.prog_id);
        if (program && fits(link, *program, placed)) all.push_back(placed);
    }
    std::ranges::stable_sort(all, [](const Placed& a, const Placed& b) {
        return a.stage != b.stage ? a.stage < b.stage : a.created_ns < b.created_ns;
    });
    return all;
}

void fill(Table& table, Watched::Side& side, const std::vector<Placed>& all, bool entry) {
    std::array<bool, std::tuple_size_v<Watched::Side>> particular{};
    for (const auto& placed : all)
        if (placed.entry == entry && !placed.every_number) particular[placed.number] = true;
    // Returns where it begins, as Watched has it; 0 where nothing is wanted.
    const auto append = [&](auto&& wanted) -> u16 {
        const auto first = table.attached.size();
        for (const auto& placed : all)
            if (placed.entry == entry && wanted(placed)) table.attached.push_back(placed.attached);
        if (first == table.attached.size() || first >= std::numeric_limits<u16>::max()) return 0;
        table.attached.back().last = true;
        return static_cast<u16>(first + 1);
    };
    side.fill(append([](const Placed& placed) { return placed.every_number; }));
    for (u32 number = 0; number < particular.size(); ++number)
        if (particular[number])
            side[number] = append([&](const Placed& placed) { return placed.every_number || placed.number == number; });
}

// Programs may add maps and arrays by being loaded, so this goes on until nothing new appears.
void fill_arrays(Table& table, Loader& loader) {
    std::size_t known = 0, seen = 0;
    do {
        known = seen = 0;
        loader.each_map([&](const LoadedMap&) { ++known; });
        table.arrays.clear();
        std::vector<const LoadedMap*> maps;
        loader.each_map([&](const LoadedMap& loaded) { maps.push_back(&loaded); });
        for (const auto* loaded : maps) {
            const auto& spec = loaded->map().spec();
            const bool programs = spec.type == abi::MapType::prog_array;
            if (!programs && spec.type != abi::MapType::perf_event_array) continue;
            Table::Array array{&loaded->map(), {}, {}};
            for (u32 index = 0; index < spec.max_entries; ++index) {
                auto* const entry = static_cast<u32*>(loaded->map().lookup(&index, 0));
                const u32 id = entry ? std::atomic_ref(*entry).load(std::memory_order_acquire) : 0;
                if (programs)
                    array.programs.push_back(id != 0 ? loader.program(id) : nullptr);
                else
                    array.buffers.push_back(id != 0 ? loader.buffer(id) : nullptr);
            }
            table.arrays.push_back(std::move(array));
        }
        loader.each_map([&](const LoadedMap&) { ++seen; });
    } while (seen != known);
}

}  // namespace

Table build_table(const kernel::Root& root, Loader& loader, u32 tree) {
    Table table;
    const auto all = place_links(root, loader, tree);
    fill(table, table.watched.enter, all, true);
    fill(table, table.watched.exit, all, false);
    fill_arrays(table, loader);
    loader.each_map([&](const LoadedMap& map) { table.maps.push_back(&map); });
    table.linked = loader.all_linked();  // with what the arrays brought
    for (auto& attached : table.attached) attached.executable = table.executable(*attached.program);
    return table;
}

}  // namespace anybpf::hooks
