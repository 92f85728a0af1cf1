// SPDX-License-Identifier: Apache-2.0
// What makes one random program of a type, statement by statement.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "anybpf/abi/helper.hpp"
#include "anybpf/program/program.hpp"
#include "program_kinds.hpp"
#include "program_text.hpp"

namespace anybpf::verdicts {

// r6 is the context, r7 a map value of value_bytes (or nothing), r8 and r9 are numbers. The stack: fp-8 to fp-64 for
// data, fp-128 for keys, fp-256 for values.
constexpr u32 value_bytes = 64, words = 8, key_at = 128, value_at = 256;

struct Field {
    int off;
    u32 size;
};
// A program type, with what its programs may do.
struct KindFacts {
    verifier::testing::Kind kind;
    std::vector<Field> loads, stores;
    std::vector<const abi::HelperProto*> helpers;
};
class Maker : verifier::testing::ProgramText {
  public:
    Maker(u64 seed, const KindFacts& facts, const std::vector<program::MapInfo>& maps)
        : ProgramText(seed), facts_(facts), maps_(maps) {}

    std::vector<isa::Insn> insns();
    bool objects = false;  // among the statements are those of objects.cpp

  private:
    static constexpr std::array<const char*, 11> tests = {
        "==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"};
    u32 number() { return 8 + below(2); }
    i64 constant();
    void statement();
    void get_number(u32 into);
    void arithmetic();
    void check();
    void bound(u32 r);
    void two_ways();
    void find_value();
    void reach_value();
    void reach_stack();
    void spill();
    void links();
    void atomic();
    void loop();
    void function();
    void store_context();
    void helper();
    void record();
    void tail_call();
    bool argument(u32 r, abi::ArgKind kind, abi::HelperId id);
    u32 map_for(abi::HelperId id);
    void memory(u32 r, u32 bytes);
    void fill(u32 at, u32 bytes);
    void finish();

    // objects.cpp: each makes a program's object, uses it and gives it back, or nearly.
    bool can(abi::HelperId id) const;
    u32 map_of(abi::MapType type) const;
    std::optional<u32> map_named(std::string_view name) const;
    void object();
    void look_up(u32 map);
    void use_socket();
    void look_up_socket();
    void context_socket();
    void socket_of_map();
    void locked();
    void timed();
    void dynptr_of_ring();
    void dynptr_of_value();
    void use_dynptr(u32 at, u32 size);
    void each_element();
    void rounds();
    void map_in_map();
    void arena();
    void budget_loop();
    void packet();
    void packet_load();
    void flow_keys();
    void callback(const std::string& name, u32 context, u32 value_bytes);
    // What leaves the program between `from` and here goes to the label instead, most of the time.
    void leave_by(std::size_t from, const std::string& label);
    struct PacketFields {
        u32 data, end;
    };
    std::optional<PacketFields> packet_fields() const;

    const KindFacts& facts_;
    const std::vector<program::MapInfo>& maps_;
    std::string functions_;
    bool has_value_ = false, in_loop_ = false, in_function_ = false;
    u32 map_ = 0, size_ = 0;  // what the present helper call was given
};

}  // namespace anybpf::verdicts
