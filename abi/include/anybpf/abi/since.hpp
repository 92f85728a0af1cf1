// SPDX-License-Identifier: Apache-2.0
// Versions of Linux, and which of them has what: the `since` columns of the tables, as questions.
#pragma once

#include <array>
#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"

namespace anybpf::abi {

struct KernelVersion {
    u16 major = 0, minor = 0;
    friend constexpr auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};
std::string to_string(KernelVersion version);  // "5.10"
// A version that profiles exist for: every one from 5.4 to 6.18, by its two numbers.
std::optional<KernelVersion> kernel_version(std::string_view text);

constexpr KernelVersion reference_kernel = {6, 18};  // what the verifier decides as
// Those that live longest, which `all` stands for.
inline constexpr std::array<KernelVersion, 7> long_term_kernels = {
    {{5, 4}, {5, 10}, {5, 15}, {6, 1}, {6, 6}, {6, 12}, {6, 18}}};

enum class Feature : u8 {
#define ANYBPF_FEATURE(name, major, minor, words) name,
#include "anybpf/abi/since.def"
};
std::string_view to_string(Feature feature);  // "global data"

// The first version that has it. A number that 6.18 does not have: nothing has it.
constexpr KernelVersion never = {0xffff, 0xffff};
KernelVersion since(Feature feature);
KernelVersion since(MapType type);
KernelVersion since(ProgType type);
KernelVersion since(AttachType type);
KernelVersion since(HelperId helper);
// The same for programs of a type, which may have got it later.
KernelVersion since(HelperId helper, ProgType type);
// What libbpf calls instead where a kernel lacks the helper.
std::optional<HelperId> stand_in(HelperId helper);
// Programs of that type and attach type that may sleep; never for types that may not.
KernelVersion sleepable_since(ProgType type, AttachType attach);
// Nothing for a name that the table does not have: it may still exist.
std::optional<KernelVersion> kfunc_since(std::string_view name);

struct NamedSince {
    KernelVersion since;
    std::string_view name;
};
// The latest of the flags of a map; nothing where all are older than any kernel here.
std::optional<NamedSince> map_flags_since(u32 flags);
// A load or store of the context of a program type; nothing where it is older than any kernel here.
std::optional<NamedSince> context_since(ProgType type, i64 offset, u32 size);

}  // namespace anybpf::abi
