// SPDX-License-Identifier: Apache-2.0
#include "anybpf/program/exception.hpp"

#include <algorithm>

#include "anybpf/btf/btf.hpp"

namespace anybpf::program {

ExceptionCallback find_exception_callback(const Program& program) {
    constexpr std::string_view prefix = "exception_callback:";
    if (program.btf == nullptr || program.funcs.empty()) return {};
    const btf::Btf& btf = *program.btf;
    std::string_view name;
    for (u32 id = 1; id < btf.count(); ++id) {
        const btf::Type tag = btf.type(id);
        if (tag.kind != btf::Kind::decl_tag || tag.target() != program.funcs[0].type_id || btf.component(tag) != -1 ||
            !tag.name.starts_with(prefix))
            continue;
        if (!name.empty()) return {0, ExceptionFlaw::twice};
        name = tag.name.substr(prefix.size());
    }
    if (name.empty()) return {};
    const auto function = btf.find(name, btf::Kind::func);
    if (!function) return {0, ExceptionFlaw::missing};
    if (btf::Btf::func_linkage(btf.type(*function)) != btf::FuncLinkage::global) return {0, ExceptionFlaw::local};
    const auto info = std::ranges::find(program.funcs, *function, &FuncInfo::type_id);
    if (info == program.funcs.end() || info->insn == 0 || info->insn >= program.insns.size())
        return {0, ExceptionFlaw::missing};
    return {info->insn, ExceptionFlaw::none};
}

}  // namespace anybpf::program
