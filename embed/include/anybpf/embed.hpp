// SPDX-License-Identifier: Apache-2.0
// embed: the BPF machine inside an application. The application loads programs, as instructions or from objects of
// clang's (embed_object.hpp), has them verified, shares maps with them, and runs them on what it likes: packets,
// records of its own.
//
//   auto machine = embed::Machine::open({}).value();
//   auto counts  = machine.create_map({.name = "counts", .type = abi::MapType::array, .key_size = 4, ...}).value();
//   auto program = machine.load({.name = "filter", .insns = code}).value();   // or why the verifier refuses it
//   u64 keep     = program.filter(packet).value();
//
// Maps and programs are objects of a root, as everywhere in anybpf: `anybpf map` and `anybpf prog` show them while the
// application runs, and they vanish with it. A handle keeps what it needs; the order of destruction does not matter.
// Everything may be called from any thread, and a program may be run by many threads at once.
//
// In the process this installs a handler of SIGSEGV and SIGBUS, which passes on what is not a fault of a helper that
// reads memory for a program.
#pragma once

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/base/fd.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/isa/insn.hpp"

namespace anybpf::embed {

struct Options {
    std::optional<std::string> root;  // a directory on a tmpfs; without: the user's
    std::string engine = "jit";       // one of engines()
    // What a program may need, as Machine::set_limits() has it.
    u64 max_insns = 1'000'000;
    u32 stack_bytes = abi::stack_size;
};

// By name, what Options::engine may be.
std::vector<std::string_view> engines();

struct MapSpec {
    std::string name;
    abi::MapType type{};
    u32 key_size = 0, value_size = 0, max_entries = 0, flags = 0;
};

struct ProgramSpec {
    std::string name;
    abi::ProgType type = abi::ProgType::socket_filter;
    // Maps are named by their descriptor, as in bpf(2): lddw of the kinds map_fd and map_value with imm = Map::fd().
    std::span<const isa::Insn> insns{};
    std::string license = "GPL";  // some helpers are for GPL-compatible programs only
};

struct State;
struct Code;

// A descriptor of an object; what nobody holds any more goes with it. For Map and Program.
class Handle {
  public:
    Handle() = default;
    Handle(std::shared_ptr<State> state, Fd fd) : state_(std::move(state)), fd_(std::move(fd)) {}
    Handle(Handle&&) noexcept = default;
    Handle& operator=(Handle&&) noexcept = default;
    ~Handle();
    int fd() const { return fd_.get(); }
    State& state() const { return *state_; }

  private:
    std::shared_ptr<State> state_;
    Fd fd_;
};

class Map {
  public:
    const std::string& name() const { return spec_.name; }
    const MapSpec& spec() const { return spec_; }
    int fd() const { return handle_.fd(); }
    // Bytes of a value as the functions below take it: in per-CPU maps that of every virtual CPU in a row, each rounded
    // up to 8.
    std::size_t value_bytes() const { return value_bytes_; }

    // Nothing where the key is not there.
    Result<std::optional<std::vector<std::byte>>> lookup(std::span<const std::byte> key) const;
    // flags: abi::update_any, update_noexist, update_exist.
    Result<> update(std::span<const std::byte> key, std::span<const std::byte> value,
                    u64 flags = abi::update_any) const;
    Result<bool> erase(std::span<const std::byte> key) const;  // whether it was there
    // The key behind the given one in no order; without one, the first; nothing at the end.
    Result<std::optional<std::vector<std::byte>>> next_key(std::optional<std::span<const std::byte>> key = {}) const;

    // The same for keys and values that are plain objects.
    template <class Value, class Key>
    Result<std::optional<Value>> get(const Key& key) const {
        const auto found = ANYBPF_TRY(lookup(bytes_of(key)));
        if (!found) return std::nullopt;
        if (found->size() != sizeof(Value)) return fail(Errc::invalid_argument, "values of the map have another size");
        Value value;
        std::memcpy(&value, found->data(), sizeof(value));
        return value;
    }
    template <class Key, class Value>
    Result<> put(const Key& key, const Value& value, u64 flags = abi::update_any) const {
        return update(bytes_of(key), bytes_of(value), flags);
    }

    // The values of an ARRAY map themselves, each rounded up to 8 bytes, which programs change at any time; empty for
    // other maps. Stays as long as the map.
    std::span<std::byte> values() const { return values_; }

    // Of a RINGBUF map: hands over every record that is finished, oldest first, and gives its room back; returns how
    // many. One thread at a time.
    Result<u64> consume(const std::function<void(std::span<const std::byte> record)>& take) const;
    // Sleeps until there is a record, or that long; whether there is one.
    Result<bool> wait(std::chrono::milliseconds longest) const;

  private:
    friend struct State;
    template <class T>
    static std::span<const std::byte> bytes_of(const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        return std::as_bytes(std::span(&value, 1));
    }
    Handle handle_;
    std::shared_ptr<const void> memory_;
    MapSpec spec_;
    std::size_t value_bytes_ = 0;
    std::span<std::byte> values_;
};

class Program {
  public:
    const std::string& name() const { return name_; }
    abi::ProgType type() const { return type_; }
    int fd() const { return handle_.fd(); }
    u32 context_bytes() const { return context_bytes_; }  // it reads no more of its context

    // Runs it to its end on a context: of a raw_tracepoint numbers of 8 bytes, of a tracepoint a record of the
    // application's (of which a program may not read the first 8 bytes), of a kprobe the registers of pt_regs. The
    // program only reads it. Yields what it returns. Fails when the context is shorter than what the program reads, for
    // socket filters, and when every virtual CPU is taken (more runs at once than maps have per-CPU values).
    Result<u64> run(std::span<const std::byte> context) const;
    // The same of a socket filter on a packet, from its link-layer header on. A filter returns how many bytes to keep.
    Result<u64> filter(std::span<const std::byte> packet) const;
    // The same of many packets in a row, for less each: verdicts[i] is that of packets[i]. Fails when there are fewer
    // verdicts than packets.
    using Packet = std::span<const std::byte>;
    Result<> filter(std::span<const Packet> packets, std::span<u64> verdicts) const;

    // Compiles the program once more, by another engine; all later runs, by whichever handle's thread, use that code.
    // For programs that run often or long: "llvm" takes milliseconds, and its code is as fast as C. Runs may go on
    // meanwhile, so a thread in the background may do it. Programs that it tail-calls are compiled by that engine when
    // they are first called. When it fails, everything stays as it was.
    Result<> tier_up(std::string_view engine = "llvm") const;
    std::string_view engine() const;  // whose code runs use

  private:
    friend struct State;
    Handle handle_;
    std::shared_ptr<Code> code_;
    std::string name_;
    abi::ProgType type_{};
    u32 context_bytes_ = 0;
};

class Machine {
  public:
    static Result<Machine> open(const Options& options);

    // For programs that are loaded from now on, where they may need more than Linux allows: instructions that the
    // verifier walks, and bytes of stack, of a function and over a chain of calls (up to 65536). Threads that run them
    // need so much stack, and 8 KiB.
    Result<> set_limits(u64 max_insns, u32 stack_bytes) const;

    Result<Map> create_map(const MapSpec& spec) const;
    // Verified, and bound to this process. Errc::rejected: the verifier refuses it; the message says why, where, and
    // what would satisfy it, in several lines.
    Result<Program> load(const ProgramSpec& spec) const;

    // Handles on what has been loaded or made otherwise in this root, by a descriptor, which is kept open.
    Result<Map> adopt_map(Fd fd) const;
    Result<Program> adopt_program(Fd fd) const;

    const std::shared_ptr<State>& state() const { return state_; }  // private to embed/

  private:
    explicit Machine(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
};

}  // namespace anybpf::embed
