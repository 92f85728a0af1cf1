// SPDX-License-Identifier: Apache-2.0
// Version profiles: would a program load on another version of Linux? Judged by the tables of abi/since.hpp, and by
// what the verifier, which is 6.18's, found. docs/profiles.md says what each answer is worth.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "anybpf/abi/since.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verifier {

enum class Answer : u8 { yes, no, unknown };
std::string_view to_string(Answer answer);

enum class Cause : u8 {
    none,
#define ANYBPF_CAUSE(name, answer, sentence) name,
#include "anybpf/verifier/causes.def"
};
std::string_view to_string(Cause cause);  // "map_type"; by which tests, JSON and documentation know it

// A walk of no more instructions than these is taken to fit into any version's million, whatever it prunes less.
constexpr u64 small_walk = 10'000;

// A program after relocation, and the object around it: an object loads with all its maps and kfuncs or not at all.
struct Subject {
    const program::Program& program;
    const Report* report = nullptr;               // the verifier's, or null where it has not seen the program
    std::string why_not_seen = {};                // then
    std::span<const program::MapInfo> maps = {};  // that the object creates
    std::span<const std::string> kfuncs = {};     // that it cannot do without
    std::span<const isa::Insn> functions = {};  // code outside of the program that it may call, where it is not linked
    bool fragments = false;                     // loaded with BPF_F_XDP_HAS_FRAGS
    bool has_constants = false;                 // frozen maps, whose values may make code dead
    bool asks_kernel = false;                   // by CO-RE or kconfig: elsewhere other code may be dead
};

struct Profile {
    Answer answer = Answer::yes;
    Cause cause = Cause::none;  // the first
    std::string what, where;    // for its sentence
    abi::KernelVersion since;   // the version that brought it; {} where the cause has none
    std::optional<Pc> pc;       // where the program needs it
};

Profile judge(const Subject& subject, abi::KernelVersion kernel);

// The cause in one sentence; empty for a plain yes.
std::string explain(const Profile& profile);

// Kinds of BTF types that some version lacks. libbpf writes other ones in their place, other loaders may not.
struct BtfNeed {
    btf::Kind kind{};
    abi::KernelVersion since;
};
std::vector<BtfNeed> btf_needs(const btf::Btf& btf);

}  // namespace anybpf::verifier
