// SPDX-License-Identifier: Apache-2.0
// Loads the LLVM module and talks to it.
//
// Raw because what dlsym yields is a number. It is safe because the one symbol that is asked for is named after its
// type, and says its version before anything else of it is used; the module is never unloaded, for code and LLVM's own
// tables live in it.
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

#include "anybpf/engine/check.hpp"
#include "anybpf/engine/host.h"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/op.hpp"
#include "llvm_module.hpp"

namespace anybpf::engine {
namespace {

constexpr const char* file_name = "libanybpf-llvm.so";

// The places to look in, best first.
std::vector<std::string> candidates() {
    if (const char* given = std::getenv("ANYBPF_LLVM_PATH")) return {given};
    std::vector<std::string> found;
    Dl_info self{};
    if (::dladdr(reinterpret_cast<const void*>(&candidates), &self) != 0 && self.dli_fname != nullptr) {
        // The name of an executable is what it was started as.
        std::string path = self.dli_fname;
        char* const real = ::realpath(path.starts_with('/') ? path.c_str() : "/proc/self/exe", nullptr);
        if (real != nullptr) path = real;
        std::free(real);
        const std::string folder = path.substr(0, path.rfind('/'));
        for (const char* place : {"", "/../lib/x86_64-linux-gnu", "/../lib", "/../lib64", "/../../lib"}) {
            std::string candidate = fmt::format("{}{}/{}", folder, place, file_name);
            if (::access(candidate.c_str(), R_OK) == 0) found.push_back(std::move(candidate));
        }
    }
    found.emplace_back(file_name);
    return found;
}

Result<const llvm::Module*> open_module() {
    std::string complaint;
    for (const std::string& candidate : candidates()) {
        void* const library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            const char* const error = ::dlerror();
            if (complaint.empty()) complaint = error != nullptr ? error : candidate;
            continue;
        }
        const auto get = reinterpret_cast<llvm::GetModule>(::dlsym(library, llvm::module_symbol));
        const llvm::Module* const module = get != nullptr ? get() : nullptr;
        if (module != nullptr && module->version == llvm::module_version && module->size == sizeof(llvm::Module))
            return module;
        return fail(Errc::unsupported, fmt::format("{} is of another version of anybpf", candidate));
    }
    const bool lacks_llvm = complaint.find("libLLVM") != complaint.npos;
    return fail(Errc::unsupported,
                fmt::format("the LLVM engine cannot be loaded: {} ({})", complaint,
                            lacks_llvm ? "install libllvm19"
                                       : "it is built where llvm-19-dev is installed; ANYBPF_LLVM_PATH names it"));
}

// Loaded once; what failed is not tried again.
const Result<const llvm::Module*>& loaded() {
    static const Result<const llvm::Module*> module = open_module();
    return module;
}

static_assert(static_cast<u32>(llvm::Output::object) == static_cast<u32>(LlvmOutput::object) &&
              static_cast<u32>(llvm::Output::lifted) == static_cast<u32>(LlvmOutput::lifted));

void append(void* to, const void* bytes, u64 count) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), count);
}

constexpr llvm::RunLayout run_layout = {.helpers = offsetof(abi::Run, helpers),
                                        .tail_target = offsetof(abi::Run, tail_target),
                                        .call_back = offsetof(abi::Run, call_back),
                                        .engine = offsetof(abi::Run, engine),
                                        .vcpu = offsetof(abi::Run, vcpu),
                                        .environment = offsetof(abi::Run, environment),
                                        .gave_up = offsetof(abi::Run, gave_up),
                                        .maps = 0};
static_assert(ANYBPF_HELPERS == abi::helper_count);
constexpr llvm::RunLayout host_layout = {.helpers = offsetof(anybpf_host, helpers),
                                         .tail_target = offsetof(anybpf_host, tail_target),
                                         .call_back = offsetof(anybpf_host, call_back),
                                         .engine = offsetof(anybpf_host, run),
                                         .vcpu = 0,
                                         .environment = 0,
                                         .gave_up = 0,
                                         .maps = offsetof(anybpf_host, maps)};
static_assert(sizeof(anybpf_program) == sizeof(llvm::Entry) &&
              offsetof(anybpf_program, tail) == offsetof(llvm::Entry, tail) &&
              offsetof(anybpf_program, callback) == offsetof(llvm::Entry, callback));

llvm::Program describe(const char* name, const program::Lowered& lowered) {
    return {.name = name,
            .insns = lowered.insns.data(),
            .insn_count = lowered.insns.size(),
            .subprograms = lowered.subprograms.data(),
            .subprogram_count = lowered.subprograms.size(),
            .map_uses = nullptr,
            .map_use_count = 0,
            .arrays = nullptr,
            .map_count = 0,
            .helpers = nullptr,
            .proved = lowered.proved ? 1U : 0U};
}

// A program's instructions and uses of maps by the build's numbers of maps, the uses in the order of instructions; all
// lead into maps that are there.
struct Renumbered {
    std::vector<program::LoweredInsn> insns;
    std::vector<program::MapUse> uses;
};
Result<Renumbered> renumber(const LlvmProgram& program, const std::vector<LlvmMap>& maps) {
    std::vector<BoundMap> bound;
    for (const u32 map : program.maps) {
        if (map >= maps.size()) return fail(Errc::invalid_argument, "a program uses a map that is not built");
        // Only whether there are values is looked at; lookups are the host's.
        auto* const values = const_cast<std::byte*>(maps[map].values.data());
        bound.push_back({nullptr, maps[map].values.empty() ? nullptr : values, {.entries = 1}});
    }
    ANYBPF_TRY(check(*program.lowered, bound, nullptr));
    Renumbered result{program.lowered->insns, program.lowered->map_uses};
    for (program::LoweredInsn& insn : result.insns) {
        if (is_packet_load(Op{insn.op}))
            return fail(Errc::unsupported, "packet loads (LD_ABS, LD_IND) cannot be built ahead of time");
        if (op_indices[insn.op] == Index::array) insn.imm = program.maps[static_cast<u64>(insn.imm)];
    }
    for (program::MapUse& use : result.uses) {
        use.map = program.maps[use.map];
        if (use.value != 0 && use.offset > maps[use.map].values.size())
            return fail(Errc::malformed, "a program uses a value behind its map's end");
    }
    std::ranges::sort(result.uses, {}, &program::MapUse::insn);
    return result;
}

}  // namespace

// The entry comes first: code finds it by the executable's address.
class LlvmExecutable {
  public:
    LlvmExecutable() = default;
    LlvmExecutable(const LlvmExecutable&) = delete;
    LlvmExecutable& operator=(const LlvmExecutable&) = delete;
    llvm::Entry entry{};
    std::shared_ptr<void> code;  // of all that were bound together
};
static_assert(offsetof(LlvmExecutable, entry) == 0);

Result<> Llvm::available() {
    if (!loaded()) return tl::make_unexpected(loaded().error());
    return {};
}

Result<std::shared_ptr<const LlvmExecutable>> Llvm::bind(const program::Lowered& lowered,
                                                         std::span<const BoundMap> maps,
                                                         const abi::HelperBodies* helpers) {
    const program::Lowered* const one = &lowered;
    auto bound = ANYBPF_TRY(bind_all({&one, 1}, maps, helpers));
    return std::move(bound.front());
}

Result<std::vector<std::shared_ptr<const LlvmExecutable>>> Llvm::bind_all(
    std::span<const program::Lowered* const> programs, std::span<const BoundMap> maps,
    const abi::HelperBodies* helpers) {
    ANYBPF_TRY(available());
    if (programs.empty()) return {};
    std::vector<abi::ArrayPlace> arrays;
    for (const BoundMap& map : maps) arrays.push_back(map.array);
    // What the descriptions point to.
    std::vector<std::string> names(programs.size());
    std::vector<std::vector<program::LoweredInsn>> insns(programs.size());
    std::vector<std::vector<program::MapUse>> uses(programs.size());
    std::vector<llvm::Program> described;
    std::vector<std::shared_ptr<LlvmExecutable>> executables;
    std::vector<llvm::Entry*> entries;
    for (std::size_t i = 0; i < programs.size(); ++i) {
        const program::Lowered& lowered = *programs[i];
        ANYBPF_TRY(check(lowered, maps, helpers));
        names[i] = fmt::format("program{}", i);
        insns[i] = lowered.insns;
        for (const program::MapUse& use : lowered.map_uses)
            insns[i][use.insn].imm = static_cast<i64>(address_of(maps[use.map], use));
        llvm::Program& program = described.emplace_back(describe(names[i].c_str(), lowered));
        program.insns = insns[i].data();
        uses[i] = lowered.map_uses;
        std::ranges::sort(uses[i], {}, &program::MapUse::insn);
        program.map_uses = uses[i].data();
        program.map_use_count = uses[i].size();
        program.arrays = arrays.data();
        program.map_count = arrays.size();
        if (helpers != nullptr) program.helpers = helpers->data();
        entries.push_back(&executables.emplace_back(std::make_shared<LlvmExecutable>())->entry);
    }
    std::string complaint;
    const llvm::Sink error = {.to = &complaint, .put = append};
    const llvm::Module& module = **loaded();
    const std::shared_ptr<void> code(
        module.compile(described.data(), described.size(), &run_layout, entries.data(), &error), [&module](void* made) {
            if (made != nullptr) module.release(made);
        });
    if (code == nullptr) return fail(Errc::unsupported, "LLVM: " + complaint);
    for (const auto& executable : executables) executable->code = code;
    return std::vector<std::shared_ptr<const LlvmExecutable>>(executables.begin(), executables.end());
}

u64 Llvm::run(const LlvmExecutable& executable, abi::Run& run, u64 second) {
    return executable.entry.run(run.context, &run, second);
}

Result<std::string> Llvm::build(const LlvmBuild& build, LlvmOutput output) {
    ANYBPF_TRY(available());
    std::vector<Renumbered> renumbered;
    for (const LlvmProgram& program : build.programs) renumbered.push_back(ANYBPF_TRY(renumber(program, build.maps)));
    std::vector<llvm::Program> programs;
    for (std::size_t i = 0; i < build.programs.size(); ++i) {
        programs.push_back(describe(build.programs[i].name.c_str(), *build.programs[i].lowered));
        programs.back().insns = renumbered[i].insns.data();
        programs.back().map_uses = renumbered[i].uses.data();
        programs.back().map_use_count = renumbered[i].uses.size();
    }
    std::vector<llvm::Map> maps;
    for (const LlvmMap& map : build.maps)
        maps.push_back({.values_name = map.values.empty() ? nullptr : map.values_name.c_str(),
                        .bytes = map.values.data(),
                        .size = map.values.size(),
                        .constant = map.constant ? 1U : 0U});
    const llvm::Build request = {.programs = programs.data(),
                                 .program_count = programs.size(),
                                 .maps = maps.data(),
                                 .map_count = maps.size(),
                                 .layout = host_layout,
                                 .output = static_cast<llvm::Output>(output),
                                 .cpu = build.cpu.c_str(),
                                 .prefix = build.prefix.c_str()};
    std::string made, complaint;
    const llvm::Sink out = {.to = &made, .put = append}, error = {.to = &complaint, .put = append};
    if (!(*loaded())->emit(&request, &out, &error)) return fail(Errc::unsupported, "LLVM: " + complaint);
    return made;
}

}  // namespace anybpf::engine
