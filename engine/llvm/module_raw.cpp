// SPDX-License-Identifier: Apache-2.0
// What libanybpf-llvm.so exports: code for this process, and files.
//
// Raw because code is called by its address. It is safe because LLVM's linker made it from a module of ours, of a
// program that has passed check(), and says itself where each function lies; it maps code first writable, then
// executable, never both. The pointers in requests are the loader's, which keeps what they point to until the call
// returns.
#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/base/guarded.hpp"
#include "anybpf/engine/op.hpp"
#include "lift.hpp"
#include "machine.hpp"

namespace anybpf::engine::llvm {
namespace {

struct Code {
    LLVMOrcLLJITRef jit = nullptr;
    Code() = default;
    Code(const Code&) = delete;
    Code& operator=(const Code&) = delete;
    ~Code() {
        if (jit != nullptr) LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
    }
    template <class T>
    Result<T> address(const char* name) const {
        LLVMOrcExecutorAddress found = 0;
        if (LLVMErrorRef error = LLVMOrcLLJITLookup(jit, &found, name); error != nullptr) return failed(name, error);
        return reinterpret_cast<T>(found);
    }
};

// Symbols for the values of the program's maps, one per place in memory: LLVM knows that two of them do not meet, and
// how they are aligned. How large they are is not said: LLVM would read ahead in a file that may be cut short.
struct MapValues {
    std::vector<LLVMValueRef> of_map;
    std::map<u64, std::string> names;  // by address
};
MapValues declare_values(Unit& unit, const Program& program) {
    MapValues all;
    for (u64 i = 0; i < program.map_count; ++i) {
        const u64 at = reinterpret_cast<u64>(program.arrays[i].values);
        const std::string& name = all.names.try_emplace(at, "values." + std::to_string(i)).first->second;
        LLVMValueRef known = LLVMGetNamedGlobal(unit.module, name.c_str());
        if (known == nullptr && at != 0) {
            known = LLVMAddGlobal(unit.module, LLVMArrayType2(unit.i8, 0), name.c_str());
            LLVMSetAlignment(known, static_cast<u32>(std::min(at & -at, u64{4096})));
        }
        all.of_map.push_back(at != 0 ? known : nullptr);
    }
    return all;
}
Result<> define_values(const MapValues& values, LLVMOrcLLJITRef jit) {
    std::vector<LLVMOrcCSymbolMapPair> symbols;
    for (const auto& [address, name] : values.names)
        if (address != 0)
            symbols.push_back(
                {LLVMOrcLLJITMangleAndIntern(jit, name.c_str()), {address, {LLVMJITSymbolGenericFlagsExported, 0}}});
    LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(symbols.data(), symbols.size());
    LLVMErrorRef error = LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), unit);
    if (error == nullptr) return {};
    LLVMOrcDisposeMaterializationUnit(unit);
    return failed("naming maps", error);
}

// abi::Run::call_back: what the state says is the program, in a new frame above the one whose helper call is under way.
// Mirrored by program.cpp's make_call_back(), for code that has nothing of ours around it.
struct State {
    const Entry* program;
    u32 depth, tail_calls, loops;
};
u64 call_back(abi::Run& run, u64 function, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) {
    using Callback = u64 (*)(abi::Run*, State*, u32, u32, u64, u64, u64, u64, u64);
    State& state = *static_cast<State*>(run.engine);
    const u32 depth = state.depth;
    if (!is_function(function) || depth + 1 == abi::max_frames || state.program->callback == nullptr) return 0;
    const auto callback = reinterpret_cast<Callback>(const_cast<void*>(state.program->callback));
    const u64 r0 = callback(&run, &state, depth + 1, static_cast<u32>(function), r1, r2, r3, r4, r5);
    state.depth = depth;
    return r0;
}

// Machines that are not at work. The first use of one takes longer than a small program.
Guarded<std::vector<Machine>>& idle_machines() {
    static Guarded<std::vector<Machine>> machines;
    return machines;
}
Result<Machine> native_machine() {
    auto idle = idle_machines().with([](auto& machines) -> std::optional<Machine> {
        if (machines.empty()) return {};
        Machine last = std::move(machines.back());
        machines.pop_back();
        return last;
    });
    if (idle) return std::move(*idle);
    return Machine::open("native");
}

// All of them have the same maps.
Result<std::unique_ptr<Code>> compile_programs(std::span<const Program> programs, const RunLayout& layout,
                                               Entry* const* entries) {
    LLVMMemoryBufferRef object = nullptr;
    MapValues values;
    std::vector<bool> has_callback;
    {
        Machine machine = ANYBPF_TRY(native_machine());
        Unit unit(layout);
        machine.describe(unit);
        values = declare_values(unit, programs[0]);
        for (std::size_t i = 0; i < programs.size(); ++i) {
            const LiftedProgram lifted =
                ANYBPF_TRY(lift(unit, programs[i],
                                {.self = unit.address(reinterpret_cast<u64>(entries[i])),
                                 .map_values = values.of_map.data(),
                                 .call_back = unit.address(reinterpret_cast<u64>(&call_back))}));
            has_callback.push_back(lifted.callback != nullptr);
        }
        ANYBPF_TRY(machine.optimize(unit));
        object = ANYBPF_TRY(machine.emit(unit, LLVMObjectFile));
        idle_machines().with([&](auto& machines) { machines.push_back(std::move(machine)); });
    }
    auto code = std::make_unique<Code>();
    // It only links, so any machine will do; left to itself it would ask for this one's features, which takes long.
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(
        builder, LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(ANYBPF_TRY(Machine::open("x86-64")).release()));
    if (LLVMErrorRef error = LLVMOrcCreateLLJIT(&code->jit, builder); error != nullptr) {
        LLVMDisposeMemoryBuffer(object);
        return failed("making room for code", error);
    }
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(code->jit);
    if (LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(code->jit, library, object); error != nullptr)
        return failed("linking", error);
    ANYBPF_TRY(define_values(values, code->jit));
    for (std::size_t i = 0; i < programs.size(); ++i) {
        const std::string name = programs[i].name;
        Entry& entry = *entries[i];
        entry.run = ANYBPF_TRY(code->address<decltype(entry.run)>((name + ".run").c_str()));
        entry.tail = ANYBPF_TRY(code->address<const void*>((name + ".tail").c_str()));
        if (has_callback[i]) entry.callback = ANYBPF_TRY(code->address<const void*>((name + ".callback").c_str()));
    }
    return code;
}

// A variable of the object's own: the values of a map that programs reach by address.
LLVMValueRef make_values(Unit& unit, const Map& map) {
    if (map.values_name == nullptr) return nullptr;
    LLVMTypeRef type = LLVMArrayType2(unit.i8, map.size);
    LLVMValueRef values = LLVMAddGlobal(unit.module, type, map.values_name);
    LLVMSetInitializer(values,
                       LLVMConstStringInContext2(unit.context, static_cast<const char*>(map.bytes), map.size, true));
    LLVMSetAlignment(values, 16);
    LLVMSetGlobalConstant(values, static_cast<LLVMBool>(map.constant != 0));
    if (map.constant != 0) LLVMSetLinkage(values, LLVMInternalLinkage);
    return values;
}

Result<> lift_all(Unit& unit, const Build& build) {
    std::vector<LLVMValueRef> values;
    for (u64 i = 0; i < build.map_count; ++i) values.push_back(make_values(unit, build.maps[i]));
    std::array<LLVMTypeRef, 3> fields = {unit.pointer, unit.pointer, unit.pointer};
    LLVMTypeRef entry = LLVMStructTypeInContext(unit.context, fields.data(), fields.size(), false);
    for (u64 i = 0; i < build.program_count; ++i) {
        const Program& program = build.programs[i];
        const std::string name = std::string(build.prefix) + program.name;
        LLVMValueRef self = LLVMAddGlobal(unit.module, entry, (name + "_program").c_str());
        const LiftedProgram lifted =
            ANYBPF_TRY(lift(unit, program, {.self = self, .map_values = values.data(), .exported = name.c_str()}));
        std::array<LLVMValueRef, 3> functions = {lifted.run, lifted.tail, unit.null()};
        LLVMSetLinkage(lifted.tail, LLVMInternalLinkage);
        if (lifted.callback != nullptr) {
            LLVMSetLinkage(lifted.callback, LLVMInternalLinkage);
            functions[2] = lifted.callback;
        }
        LLVMSetInitializer(self, LLVMConstStructInContext(unit.context, functions.data(), functions.size(), false));
        LLVMSetGlobalConstant(self, true);
    }
    return {};
}

Result<> emit_all(const Build& build, const Sink& out) {
    const Machine machine = ANYBPF_TRY(Machine::open(build.cpu));
    Unit unit(build.layout);
    machine.describe(unit);
    ANYBPF_TRY(lift_all(unit, build));
    char* defect = nullptr;
    const bool broken = LLVMVerifyModule(unit.module, LLVMReturnStatusAction, &defect) != 0;
    const std::string what = defect != nullptr ? defect : "";
    LLVMDisposeMessage(defect);
    if (broken) return fail(Errc::malformed, "what was lifted is no correct module: " + what);
    if (build.output != Output::lifted_raw) ANYBPF_TRY(machine.optimize(unit));
    if (build.output == Output::lifted || build.output == Output::lifted_raw) {
        char* const text = LLVMPrintModuleToString(unit.module);
        out.put(out.to, text, std::strlen(text));
        LLVMDisposeMessage(text);
        return {};
    }
    LLVMMemoryBufferRef buffer =
        ANYBPF_TRY(machine.emit(unit, build.output == Output::object ? LLVMObjectFile : LLVMAssemblyFile));
    out.put(out.to, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return {};
}

void tell(const Sink& sink, std::string_view text) { sink.put(sink.to, text.data(), text.size()); }

void* compile(const Program* programs, u64 count, const RunLayout* layout, Entry* const* entries, const Sink* error) {
    auto code = compile_programs({programs, count}, *layout, entries);
    if (code) return code->release();
    tell(*error, code.error().message);
    return nullptr;
}

void release(void* code) { delete static_cast<Code*>(code); }

bool emit(const Build* build, const Sink* out, const Sink* error) {
    const auto emitted = emit_all(*build, *out);
    if (!emitted) tell(*error, emitted.error().message);
    return emitted.has_value();
}

constexpr Module exported = {
    .version = module_version, .size = sizeof(Module), .compile = compile, .release = release, .emit = emit};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Module* anybpf_llvm_module() { return &exported; }

}  // namespace anybpf::engine::llvm
