// SPDX-License-Identifier: Apache-2.0
// Raw because bpf(2) has no wrapper in libc and takes addresses as numbers. Every buffer named in an attribute outlives
// the call that uses it, and its size is passed with it.
#include <linux/bpf.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "anybpf/btf/btf.hpp"
#include "anybpf/isa/decode.hpp"
#include "live_kernel.hpp"

namespace anybpf::verifier::testing {
namespace {

u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }
int bpf(bpf_cmd command, bpf_attr& attr) { return static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof(attr))); }

}  // namespace

Result<LiveKernel> LiveKernel::open(const std::vector<program::MapInfo>& maps) {
    LiveKernel kernel;
    for (const program::MapInfo& map : maps) {
        bpf_attr attr{};
        attr.map_type = static_cast<u32>(map.type);
        attr.key_size = map.key_size;
        attr.value_size = map.value_size;
        attr.max_entries = map.max_entries;
        attr.map_flags = map.flags;
        const int fd = bpf(BPF_MAP_CREATE, attr);
        if (fd < 0) return fail_errno("create a map in the kernel", map.name);
        kernel.maps_.emplace_back(fd);
        if (map.frozen.empty()) continue;
        const u32 key = 0;
        attr = {};
        attr.map_fd = static_cast<u32>(fd);
        attr.key = address(&key);
        attr.value = address(map.frozen.data());
        if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return fail_errno("fill a map in the kernel", map.name);
        attr = {};
        attr.map_fd = static_cast<u32>(fd);
        if (bpf(BPF_MAP_FREEZE, attr) != 0) return fail_errno("freeze a map in the kernel", map.name);
    }
    return kernel;
}

LiveKernel::Verdict LiveKernel::load(const program::Program& program) const {
    std::vector<isa::Insn> insns = program.insns;
    for (std::size_t pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        isa::Insn& insn = insns[pc];
        if (insn.code != isa::code_wide || (insn.src != 5 && insn.src != 6)) continue;
        if (static_cast<u32>(insn.imm) >= maps_.size()) return {};
        insn.imm = maps_[static_cast<u32>(insn.imm)].get();
        insn.src = insn.src == 5 ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
    }
    Fd btf;
    bpf_attr attr{};
    if (program.btf != nullptr) {
        attr.btf = address(program.btf->bytes().data());
        attr.btf_size = static_cast<u32>(program.btf->bytes().size());
        btf = Fd(bpf(BPF_BTF_LOAD, attr));
        if (!btf.valid()) return {false, std::string("BTF: ") + std::strerror(errno)};
    }
    const char* license = program.gpl_compatible ? "GPL" : "none";
    Verdict verdict;
    verdict.log.assign(1U << 18, '\0');
    attr = {};
    attr.prog_type = static_cast<u32>(program.type);
    attr.expected_attach_type = static_cast<u32>(program.expected_attach_type);
    attr.attach_btf_id = program.attach_btf_id;
    attr.prog_flags = program.sleepable ? BPF_F_SLEEPABLE : 0;
    attr.insns = address(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = address(license);
    attr.log_level = 1;
    attr.log_buf = address(verdict.log.data());
    attr.log_size = static_cast<u32>(verdict.log.size());
    if (btf.valid() && !program.funcs.empty()) {
        attr.prog_btf_fd = static_cast<u32>(btf.get());
        attr.func_info = address(program.funcs.data());
        attr.func_info_cnt = static_cast<u32>(program.funcs.size());
        attr.func_info_rec_size = sizeof(program::FuncInfo);
    }
    const Fd fd(bpf(BPF_PROG_LOAD, attr));
    verdict.accepted = fd.valid();
    const int error = errno;
    verdict.log.resize(std::strlen(verdict.log.c_str()));
    if (!fd.valid()) verdict.log += std::strerror(error);
    return verdict;
}

}  // namespace anybpf::verifier::testing
