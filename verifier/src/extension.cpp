// SPDX-License-Identifier: Apache-2.0
// As bpf_check_attach_target() and btf_check_type_match() of Linux 6.18 decide.
#include "extension.hpp"

#include <algorithm>

#include "anybpf/program/exception.hpp"
#include "typed.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using btf::Kind;

namespace {

Diagnostic refuse(ExtensionFlaw flaw) { return {Finding::bad_extension, Pc{0}, {static_cast<i64>(flaw)}}; }
Diagnostic refuse(ExtensionFlaw flaw, u32 argument) {
    return {Finding::extension_argument, Pc{0}, {i64{argument} + 1, static_cast<i64>(flaw)}};
}

bool is_global(const btf::Type& function) { return btf::Btf::func_linkage(function) == btf::FuncLinkage::global; }

// The FUNC of the function that starts there; id 0: BTF does not say.
btf::Type function_at(const program::Program& program, u32 insn) {
    const auto at = std::ranges::find(program.funcs, insn, &program::FuncInfo::insn);
    if (program.btf == nullptr || at == program.funcs.end() || !program.btf->contains(at->type_id)) return {};
    const btf::Type type = program.btf->type(at->type_id);
    return type.kind == Kind::func ? type : btf::Type{};
}

bool same_kind(const btf::Type& a, const btf::Type& b) {
    return a.kind == b.kind && a.vlen == b.vlen && a.flag == b.flag;
}

std::optional<ExtensionFlaw> compare_argument(const btf::Btf& mine, u32 my_type, const btf::Btf& other,
                                              u32 other_type) {
    using F = ExtensionFlaw;
    const btf::Type a = mine.type(mine.skip_modifiers(my_type)), b = other.type(other.skip_modifiers(other_type));
    if (!same_kind(a, b)) return F::kind;
    if (a.kind == Kind::ptr) {
        const btf::Type to = mine.type(mine.skip_modifiers(a.target())),
                        from = other.type(other.skip_modifiers(b.target()));
        if (to.kind != Kind::struct_ || from.kind != Kind::struct_) return F::no_context;
        return to.name == from.name ? std::nullopt : std::optional(F::other_struct);
    }
    if (mine.size(a.id) != other.size(b.id)) return F::size;
    return a.kind == Kind::int_ || a.is_enum() ? std::nullopt : std::optional(F::no_context);
}

// Both are global, and are declared with arguments and a result of the same kinds.
std::optional<Diagnostic> compare_functions(const program::Program& program, const btf::Type& mine,
                                            const btf::Type& other) {
    using F = ExtensionFlaw;
    const btf::Btf& own = *program.btf;
    const btf::Btf& target = *program.extends->btf;
    if (!is_global(mine)) return refuse(F::own_local);
    if (!is_global(other)) return refuse(F::local);
    const btf::Type a = own.type(mine.target()), b = target.type(other.target());
    if (a.vlen != b.vlen) return refuse(F::argument_count);
    if (!same_kind(own.type(own.skip_modifiers(a.target())), target.type(target.skip_modifiers(b.target()))))
        return refuse(F::result);
    for (u32 i = 0; i < a.vlen; ++i)
        if (const auto flaw = compare_argument(own, own.parameter(a, i).type, target, target.parameter(b, i).type))
            return refuse(*flaw, i);
    return std::nullopt;
}

}  // namespace

std::string_view describe(ExtensionFlaw flaw) {
    switch (flaw) {
#define ANYBPF_EXTENSION_FLAW(name, text) \
    case ExtensionFlaw::name:             \
        return text;
#include "extension_flaws.def"
    }
    return "";
}

std::optional<Diagnostic> check_extension(const program::Program& program) {
    using F = ExtensionFlaw;
    if (program.type == abi::ProgType::ext && program.extends == nullptr)
        return Diagnostic{Finding::extension_target, Pc{0}, {}};
    if (program.extends == nullptr) return std::nullopt;
    const program::Program& target = *program.extends;
    if (program.sleepable) return refuse(F::sleepable);
    if (target.btf == nullptr) return refuse(F::no_types);
    const auto function = std::ranges::find(target.funcs, program.attach_btf_id, &program::FuncInfo::type_id);
    if (function == target.funcs.end()) return refuse(F::absent);
    const auto callback = program::find_exception_callback(target);
    if (callback.insn != 0 && callback.insn == function->insn) return refuse(F::exception_callback);
    const btf::Type replaced = function_at(target, function->insn);
    if (replaced.id == 0) return refuse(F::absent);
    if (!is_global(replaced)) return refuse(F::local);
    if (target.extends != nullptr || target.type == abi::ProgType::ext) return refuse(F::extension);
    const abi::AttachType how = target.expected_attach_type;
    if (target.type == abi::ProgType::tracing &&
        (how == abi::AttachType::trace_fentry || how == abi::AttachType::trace_fexit))
        return refuse(F::tracing);
    const btf::Type mine = function_at(program, 0);
    if (mine.id == 0) return refuse(F::no_own_types);
    if (auto bad = compare_functions(program, mine, replaced)) return bad;
    if (has_typed_context(target.type)) return refuse(F::typed);
    return std::nullopt;
}

// The rest, and the registers as callers of the function that is replaced fill them: as for a global function.
bool Walker::begin_extension() {
    const program::Program& target = *program_.extends;
    const program::Flow flow = program::find_flow(target.insns);
    const auto function = std::ranges::find(target.funcs, program_.attach_btf_id, &program::FuncInfo::type_id);
    const auto flawed = [&](ExtensionFlaw flaw) { return fail(Finding::bad_extension, static_cast<i64>(flaw)); };
    if (function->insn == 0) {
        Structure none;
        Report unused;
        Walker other(target, options_, none, arena_, unused);
        const btf::Type own = function_at(target, 0);
        btf::Type prototype;
        Reg first;
        if (!other.global_prototype(own, prototype) || prototype.vlen != 1 || !other.global_argument(own, 0, first) ||
            first.type != Type::ctx)
            return flawed(ExtensionFlaw::own_arguments);
    }
    const auto replaced = flow.starting_at(function->insn);
    if (!replaced) return flawed(ExtensionFlaw::absent);
    if (moves_packets(program_.insns, structure_.flow, 0) && !moves_packets(target.insns, flow, *replaced))
        return flawed(ExtensionFlaw::packets);
    const btf::Type mine = function_at(program_, 0);
    reg(1) = {};
    return global_registers(mine);
}

}  // namespace anybpf::verifier
