// SPDX-License-Identifier: Apache-2.0
// Raw because bpf(2) has no wrapper in libc and takes addresses as numbers. Every buffer named in an attribute outlives
// the call that uses it, and its size is passed with it.
#include <linux/bpf.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "anybpf/btf/btf.hpp"
#include "anybpf/isa/decode.hpp"
#include "live_kernel.hpp"

namespace anybpf::verifier::testing {
namespace {

u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }
int bpf(bpf_cmd command, bpf_attr& attr) { return static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof(attr))); }

bool has_owner(abi::MapType type) {
    return type == abi::MapType::prog_array || type == abi::MapType::devmap || type == abi::MapType::devmap_hash ||
           type == abi::MapType::cpumap;
}

Result<Fd> load_btf(const btf::Btf& btf) {
    bpf_attr attr{};
    attr.btf = address(btf.bytes().data());
    attr.btf_size = static_cast<u32>(btf.bytes().size());
    Fd fd(bpf(BPF_BTF_LOAD, attr));
    if (!fd.valid()) return fail_errno("load BTF into the kernel");
    return fd;
}

using Types = std::vector<std::pair<const btf::Btf*, Fd>>;
Result<int> types_of(const btf::Btf& btf, Types& types) {
    for (const auto& [known, fd] : types)
        if (known == &btf) return fd.get();
    types.emplace_back(&btf, ANYBPF_TRY(load_btf(btf)));
    return types.back().second.get();
}

Result<Fd> create(const program::MapInfo& map, Types& types) {
    Fd inner;
    bpf_attr attr{};
    if (map.inner != nullptr) {
        inner = ANYBPF_TRY(create(*map.inner, types));
        attr.inner_map_fd = static_cast<u32>(inner.get());
    }
    if (map.btf != nullptr) {
        attr.btf_fd = static_cast<u32>(ANYBPF_TRY(types_of(*map.btf, types)));
        attr.btf_key_type_id = map.btf_key_type_id;
        attr.btf_value_type_id = map.btf_value_type_id;
    }
    attr.map_type = static_cast<u32>(map.type);
    attr.key_size = map.key_size;
    attr.value_size = map.value_size;
    attr.max_entries = map.max_entries;
    attr.map_flags = map.flags;
    // Where its pages are in user space: without, it has to be mapped before a program may use it.
    if (map.type == abi::MapType::arena) attr.map_extra = u64{1} << 44;
    Fd fd(bpf(BPF_MAP_CREATE, attr));
    if (!fd.valid()) return fail_errno("create a map in the kernel", map.name);
    if (map.frozen.empty()) return fd;
    const u32 key = 0;
    attr = {};
    attr.map_fd = static_cast<u32>(fd.get());
    attr.key = address(&key);
    attr.value = address(map.frozen.data());
    if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return fail_errno("fill a map in the kernel", map.name);
    attr = {};
    attr.map_fd = static_cast<u32>(fd.get());
    if (bpf(BPF_MAP_FREEZE, attr) != 0) return fail_errno("freeze a map in the kernel", map.name);
    return fd;
}

}  // namespace

std::shared_ptr<const btf::Btf> running_kernel() {
    std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    auto parsed = btf::Btf::parse(std::as_bytes(std::span(bytes)));
    return parsed ? *parsed : nullptr;
}

Result<LiveKernel> LiveKernel::open(const std::vector<program::MapInfo>& maps) {
    LiveKernel kernel;
    for (const program::MapInfo& map : maps) kernel.maps_.push_back(ANYBPF_TRY(create(map, kernel.types_)));
    return kernel;
}

LiveKernel::Verdict LiveKernel::load(const program::Program& program, u32 log_level, u32 flags) const {
    std::vector<isa::Insn> insns = program.insns;
    // Some maps take only the type of the first program that was loaded with them: each gets its own.
    std::vector<Fd> own;
    Types none;
    for (std::size_t pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        isa::Insn& insn = insns[pc];
        if (insn.code != isa::code_wide || (insn.src != 5 && insn.src != 6)) continue;
        if (static_cast<u32>(insn.imm) >= maps_.size()) return {};
        const program::MapInfo& map = program.maps[static_cast<u32>(insn.imm)];
        if (has_owner(map.type)) {
            auto created = create(map, none);
            if (!created) return {false, created.error().message, ENOMEM};
            own.push_back(std::move(*created));
            insn.imm = own.back().get();
        } else {
            insn.imm = maps_[static_cast<u32>(insn.imm)].get();
        }
        insn.src = insn.src == 5 ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
    }
    Fd btf;
    int btf_fd = -1;
    const auto known = std::ranges::find(types_, program.btf.get(), &std::pair<const btf::Btf*, Fd>::first);
    if (known != types_.end()) {
        btf_fd = known->second.get();
    } else if (program.btf != nullptr) {
        auto loaded = load_btf(*program.btf);
        if (!loaded) return {false, "BTF: " + loaded.error().message, EINVAL};
        btf = std::move(*loaded);
        btf_fd = btf.get();
    }
    const char* license = program.gpl_compatible ? "GPL" : "none";
    Verdict verdict;
    log_.resize(1U << 18);
    log_[0] = '\0';
    bpf_attr attr{};
    attr.prog_type = static_cast<u32>(program.type);
    attr.expected_attach_type = static_cast<u32>(program.expected_attach_type);
    attr.insns = address(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = address(license);
    attr.log_level = log_level;
    attr.prog_flags = flags | (program.sleepable ? BPF_F_SLEEPABLE : 0);
    attr.attach_btf_id = program.attach_btf_id;
    attr.log_buf = address(log_.data());
    attr.log_size = static_cast<u32>(log_.size());
    if (btf_fd >= 0 && !program.funcs.empty()) {
        attr.prog_btf_fd = static_cast<u32>(btf_fd);
        attr.func_info = address(program.funcs.data());
        attr.func_info_cnt = static_cast<u32>(program.funcs.size());
        attr.func_info_rec_size = sizeof(program::FuncInfo);
    }
    const Fd fd(bpf(BPF_PROG_LOAD, attr));
    verdict.error = fd.valid() ? 0 : errno;
    verdict.accepted = fd.valid();
    verdict.log = log_.c_str();
    if (!fd.valid()) verdict.log += std::strerror(verdict.error);
    return verdict;
}

}  // namespace anybpf::verifier::testing
