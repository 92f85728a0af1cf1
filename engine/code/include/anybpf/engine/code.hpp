// SPDX-License-Identifier: Apache-2.0
// Compiled code without its compiler. A CodeImage is a program as machine code for any process of this machine: linking
// puts that process's addresses in, and places it where it can run. So a program is compiled once, where it is loaded,
// and whoever runs it needs no assembler.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "anybpf/abi/run.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

// A program as machine code of this process. Immutable; may be run by many threads at once.
class JitProgram;

// Where code is put. Whoever gives one keeps it until the last program in it is gone; calls come from any thread that
// binds or drops programs.
class CodeMemory {
  public:
    virtual ~CodeMemory() = default;
    // At least `size` bytes, aligned to 16, writable and not executable, in pages that nobody else uses.
    virtual Result<std::span<std::byte>> reserve(std::size_t size) = 0;
    // From now on executable and not writable; may be put off until the first run of a program in it, so that several
    // are sealed at once. `code` is what reserve gave.
    virtual Result<> seal(std::span<std::byte> code) = 0;
    virtual void release(std::span<std::byte> code) = 0;
    // All of it at once: this code, which may run anywhere, ready to run; what release takes back.
    virtual Result<std::span<std::byte>> place(std::span<const std::byte> code);
};

// Private pages of the process, from mmap. Lives for ever.
CodeMemory& mapped_code_memory();

struct CodeImage {
    enum class Address : u32 {
        helper,  // index: its number
        packet,  // abi::load_packet_of
        map,     // index: of the program's maps
        value,   // index as before, and an offset from its value 0
        array,   // index as before: its ArrayPlace::values
    };
    // Eight bytes of the code that hold an address.
    struct Patch {
        u32 at = 0;
        Address what{};
        u32 index = 0, offset = 0;
    };
    // What the code takes for granted of an array that it looks up by itself.
    struct Array {
        u32 map = 0, entries = 0;
        u64 stride = 0, block = 0;
        friend bool operator==(const Array&, const Array&) = default;
    };
    std::vector<std::byte> code;
    u32 instruction_bytes = 0;  // the rest is data
    // Offsets; enter only of a program that is no leaf.
    u32 body = 0, tail_body = 0;
    std::optional<u32> enter;
    std::vector<Patch> patches;
    std::vector<Array> arrays;

    // The same as bytes of a file, for processes of this machine that run this version of the engine
    // (docs/formats/root.md).
    std::vector<std::byte> bytes() const;
    // Checks every offset, but not the instructions: who believes them must know where they come from.
    static Result<CodeImage> read(std::span<const std::byte> bytes);

    // helpers: as for Interpreter::bind; without them no patch names one. malformed where a map is not what the code
    // was made for.
    Result<std::shared_ptr<const JitProgram>> link(std::span<const BoundMap> maps, const abi::HelperBodies* helpers,
                                                   CodeMemory& memory = mapped_code_memory()) const;
};

// Runs to the end; r1 = run.context, r2 = second. The frames are on the caller's stack, at most eight of them; does not
// allocate, does not make system calls, is async-signal-safe, uses no vector register. Registers that a program never
// set are 0 at its start; after a helper's call r1 to r5 are unspecified. A function's value can be called back only by
// helpers of a program that loads one.
[[gnu::hot]] u64 run_code(const JitProgram& program, abi::Run& run, u64 second = 0);

}  // namespace anybpf::engine
