// SPDX-License-Identifier: Apache-2.0
#include "loader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "anybpf/btf/btf.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::hooks {
namespace {

bool is_frozen(const maps::Map& map) { return (map.spec().flags & abi::map_rdonly_prog) != 0 && map.frozen(); }

std::size_t value_bytes(const maps::Spec& spec) { return std::size_t{(spec.value_size + 7U) & ~7U} * spec.max_entries; }

program::MapInfo describe(const LoadedMap& loaded) {
    const auto& spec = loaded.map().spec();
    return {.id = loaded.id,
            .type = spec.type,
            .key_size = spec.key_size,
            .value_size = spec.value_size,
            .max_entries = spec.max_entries,
            .flags = spec.flags,
            .name = spec.name.data(),
            .frozen = {}};
}

bool is_print(const isa::Insn& insn) {
    constexpr u8 call = 0x85;
    return insn.code == call && insn.src == static_cast<u8>(isa::CallKind::helper) &&
           (insn.imm == static_cast<i32>(abi::HelperId::trace_printk) ||
            insn.imm == static_cast<i32>(abi::HelperId::trace_vprintk));
}

std::vector<engine::BoundMap> addresses(std::span<const LoadedMap* const> maps) {
    std::vector<engine::BoundMap> bound;
    for (const auto* used : maps) bound.push_back({&used->map(), used->map().values(), used->map().array()});
    return bound;
}

}  // namespace

const LoadedMap* Loader::map(u32 id) {
    const auto [place, is_new] = maps_.try_emplace(id);
    auto& [object, build] = place->second;
    build = build_;
    if (!is_new) return object.get();
    auto mapped = root_.map_object(id);
    if (!mapped) {
        problem_ = fmt::format("map {}: {}", id, mapped.error().message);
        return nullptr;
    }
    const bool rings = mapped->map->spec().type == abi::MapType::ringbuf;
    object = std::make_unique<LoadedMap>(
        LoadedMap{id, std::move(*mapped), rings ? root_.wake_path({kernel::ObjectKind::map, id}) : std::string()});
    return object.get();
}

const LoadedBuffer* Loader::buffer(u32 event_id) {
    const auto [place, is_new] = buffers_.try_emplace(event_id);
    auto& [object, build] = place->second;
    build = build_;
    if (!is_new) return object.get();
    auto mapped = root_.perf_buffer(event_id);
    if (!mapped) {  // not mapped by its reader yet: looked for again
        buffers_.erase(place);
        return nullptr;
    }
    object = std::make_unique<LoadedBuffer>(
        LoadedBuffer{event_id, std::move(*mapped), root_.wake_path({kernel::ObjectKind::event, event_id})});
    return object.get();
}

const LoadedProgram* Loader::program(u32 id) {
    const auto [place, is_new] = programs_.try_emplace(id);
    auto& [object, build] = place->second;
    build = build_;
    if (!is_new) {
        if (object)
            for (const auto* used : object->maps) map(used->id);
        return object.get();
    }
    auto loaded = load_program(id);
    if (loaded)
        object = std::move(*loaded);
    else
        problem_ = fmt::format("program {}: {}", id, loaded.error().message);
    return object.get();
}

void Loader::release(u64 before) {
    const auto unused = [before](const auto& each) { return each.second.build < before; };
    std::erase_if(programs_, unused);  // before the maps that they name
    std::erase_if(maps_, unused);
    std::erase_if(buffers_, unused);
}

Result<std::unique_ptr<LoadedProgram>> Loader::load_program(u32 id) {
    const kernel::ProgramObject object = ANYBPF_TRY(root_.open_program(id));
    auto program = std::make_unique<LoadedProgram>();
    program->id = id;
    program->type = object.type;
    program->attach_type = object.expected_attach_type;
    program->context_bytes = object.context_bytes;
    program->prints = std::ranges::any_of(object.insns, is_print);
    for (const u32 map_id : object.map_ids) {
        const auto* used = map(map_id);
        if (!used) return fail(Errc::not_found, problem_);
        program->maps.push_back(used);
    }
    auto bound = addresses(program->maps);
    const bool verdict_holds = believe_ && object.trusted && object.verifier_version == verifier::version &&
                               kernel::hash_of(object.lowered, object.map_ids) == object.hash;
    if (verdict_holds) {
        program->executable = ANYBPF_TRY(engine::Interpreter::bind(object.lowered, bound, &helpers::bodies()));
        program->hash = object.hash;
        if (links_code_) link_code(*program);
    } else {
        const auto lowered = ANYBPF_TRY(verify_again(object, *program, bound));
        program->executable = ANYBPF_TRY(engine::Interpreter::bind(lowered, bound, &helpers::bodies()));
    }
    return program;
}

void Loader::link_code() {
    links_code_ = true;
    for (const auto& [id, program] : programs_)
        if (program.object && !program.object->code) link_code(*program.object);
}

// Where it does not work the program is interpreted, as before.
void Loader::link_code(LoadedProgram& program) const {
    if (program.hash == std::array<u8, 32>{}) return;
    const auto bytes = root_.program_code(program.id, program.hash);
    if (!bytes) return;
    const auto image = engine::CodeImage::read(*bytes);
    if (!image) return;
    if (auto code = image->link(addresses(program.maps), &helpers::bodies())) program.code = std::move(*code);
}

// What the proof takes for constant must not change afterwards, whoever can write the file: frozen maps are copied, and
// the program is bound to the copies.
Result<program::Lowered> Loader::verify_again(const kernel::ProgramObject& object, LoadedProgram& loaded,
                                              std::vector<engine::BoundMap>& bound) const {
    program::Program program{.name = object.name,
                             .type = object.type,
                             .expected_attach_type = object.expected_attach_type,
                             .gpl_compatible = (object.flags & kernel::program_gpl) != 0,
                             .sleepable = (object.flags & kernel::program_sleepable) != 0,
                             .insns = object.insns,
                             .maps = {},
                             .funcs = object.func_infos,
                             .lines = object.line_infos,
                             .btf = {}};
    if (object.btf_id != 0) {
        const auto bytes = ANYBPF_TRY(root_.read_btf(object.btf_id));
        program.btf = ANYBPF_TRY(btf::Btf::parse(bytes));
    }

    std::size_t frozen_bytes = 0;
    for (const auto* used : loaded.maps)
        if (is_frozen(used->map()) && used->map().values()) frozen_bytes += value_bytes(used->map().spec());
    if (frozen_bytes != 0) loaded.frozen = ANYBPF_TRY(Mapping::anonymous(frozen_bytes));
    auto room = loaded.frozen.bytes();
    for (std::size_t i = 0; i < loaded.maps.size(); ++i) {
        const auto& used = *loaded.maps[i];
        program.maps.push_back(describe(used));
        if (!is_frozen(used.map()) || !used.map().values()) continue;
        const auto copy = room.first(value_bytes(used.map().spec()));
        room = room.subspan(copy.size());
        std::memcpy(copy.data(), used.map().values(), copy.size());
        program.maps.back().frozen = copy;
        bound[i].values = copy.data();
    }

    // Under the limits of who loaded it.
    const verifier::Options standard;
    const auto report =
        verifier::verify(program, {.max_insns = std::max<u64>(standard.max_insns, object.verified_insns),
                                   .stack_bytes = std::max(standard.stack_bytes, object.stack_limit)});
    if (!report.accepted) return fail(Errc::rejected, verifier::message(report.diagnostic, program));
    loaded.context_bytes = report.proof.context_bytes;
    return engine::lower(program, report.proof);
}

}  // namespace anybpf::hooks
