// SPDX-License-Identifier: Apache-2.0
// PROG_LOAD: from the caller's instructions to a program's file. In the kernel's order: attributes, licence, the BTF
// that describes functions and lines, map references, the verifier; then lowering, the tag, and the file.
#include <unistd.h>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/base/sha256.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/program/exception.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "io.hpp"
#include "log.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::MapType;
using isa::Insn;
using isa::Pseudo;

namespace {

constexpr u32 max_insns = 1'000'000;
constexpr u8 lddw = 0x18, call = 0x85;

// license_is_gpl_compatible() of include/linux/license.h.
bool gpl_compatible(std::string_view license) {
    for (const std::string_view good :
         {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"})
        if (license == good) return true;
    return false;
}

// Instructions that begin a subprogram: the first, and what calls and function references name. Distances that lead
// outside are the verifier's to refuse.
std::vector<u32> subprogram_starts(const program::Program& program) {
    const auto& insns = program.insns;
    std::vector<u32> starts = {0};
    if (const u32 callback = program::find_exception_callback(program).insn; callback != 0) starts.push_back(callback);
    for (std::size_t pc = 0; pc < insns.size(); ++pc) {
        const Insn& insn = insns[pc];
        const bool calls = insn.code == call && insn.src == static_cast<u8>(isa::CallKind::subprogram);
        const bool refers = insn.code == lddw && insn.src == static_cast<u8>(Pseudo::func);
        const i64 target = static_cast<i64>(pc) + insn.imm + 1;
        if ((calls || refers) && target >= 0 && target < static_cast<i64>(insns.size()))
            starts.push_back(static_cast<u32>(target));
        if (insn.code == lddw) ++pc;
    }
    std::sort(starts.begin(), starts.end());
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    return starts;
}

// What is refused before the verifier walks has a line in its log, too.
struct Loading {
    Kernel::State& state;
    const uapi::ProgLoad& in;
    const Attr& attr;
    std::string log;
    program::Program program;
    std::vector<Fd> handles;  // maps and BTF stay while we work
    std::vector<std::shared_ptr<const MappedMap>> maps;
    u32 btf_id = 0;

    tl::unexpected<Error> say(int error, std::string text) {
        log += text;
        log += '\n';
        return refuse(error, std::move(text));
    }

    Result<> read_insns();
    Result<> read_function_info();
    Result<> check_function_info(std::span<const u32> starts);
    Result<> read_line_info(std::span<const u32> starts);
    Result<u32> use_map(u64 fd);
    Result<> resolve_maps();
    template <class T>
    Result<std::vector<T>> read_records(u64 from, u32 count, u32 record_size, std::string_view what,
                                        std::size_t size_member);
};

// Records may be longer than we know, if the rest is zero.
template <class T>
Result<std::vector<T>> Loading::read_records(u64 from, u32 count, u32 record_size, std::string_view what,
                                             std::size_t size_member) {
    constexpr u32 max_record = 252;
    if (record_size < sizeof(T) || record_size > max_record || record_size % 4 != 0)
        return say(EINVAL, "invalid " + std::string(what) + " rec size " + std::to_string(record_size));
    std::vector<T> records;
    records.reserve(std::min(count, max_insns));
    for (u32 i = 0; i < count; ++i) {
        const u64 at = from + u64{i} * record_size;
        if (auto tail = check_tail_zero(at, sizeof(T), record_size); !tail) {
            if (tail.error().sys_errno != E2BIG) return tl::make_unexpected(tail.error());
            ANYBPF_TRY(attr.put(size_member, static_cast<u32>(sizeof(T))));
            return say(E2BIG, "nonzero tailing record in " + std::string(what));
        }
        records.push_back(ANYBPF_TRY(read_user<T>(at)));
        // The kernel checks each record before it reads the next; order is what both lists share.
        if (i != 0 && records[i].insn <= records[i - 1].insn) break;
    }
    return records;
}

Result<> Loading::read_insns() {
    program.insns = ANYBPF_TRY(read_user_table<Insn>(in.insns, in.insn_cnt));
    return {};
}

Result<> Loading::read_function_info() {
    if (in.func_info_cnt == 0 && in.line_info_cnt == 0) return {};
    btf_id = ANYBPF_TRY(state.find(in.prog_btf_fd, ObjectKind::btf));
    handles.push_back(ANYBPF_TRY(state.keep(in.prog_btf_fd)));
    program.btf = ANYBPF_TRY(state.btf_by_id(btf_id));
    if (in.func_info_cnt == 0) return {};
    program.funcs =
        ANYBPF_TRY(read_records<program::FuncInfo>(in.func_info, in.func_info_cnt, in.func_info_rec_size, "func info",
                                                   offsetof(uapi::ProgLoad, func_info_rec_size)));
    for (std::size_t i = 0; i < program.funcs.size(); ++i) {
        const auto& info = program.funcs[i];
        if (i == 0 && info.insn != 0)
            return say(EINVAL, "nonzero insn_off " + std::to_string(info.insn) + " for the first func info record");
        if (i != 0 && info.insn <= program.funcs[i - 1].insn)
            return say(EINVAL, "same or smaller insn offset (" + std::to_string(info.insn) +
                                   ") than previous func info record (" + std::to_string(program.funcs[i - 1].insn) +
                                   ")");
        if (!program.btf->contains(info.type_id) || program.btf->type(info.type_id).kind != btf::Kind::func)
            return say(EINVAL, "invalid type id " + std::to_string(info.type_id) + " in func info");
    }
    return {};
}

Result<> Loading::check_function_info(std::span<const u32> starts) {
    if (program.funcs.empty()) return {};
    if (program.funcs.size() != starts.size())
        return say(EINVAL, "number of funcs in func_info doesn't match number of subprogs");
    for (std::size_t i = 0; i < starts.size(); ++i)
        if (program.funcs[i].insn != starts[i])
            return say(EINVAL, "func_info BTF section doesn't match subprog layout in BPF program");
    return {};
}

Result<> Loading::read_line_info(std::span<const u32> starts) {
    if (in.line_info_cnt == 0) return {};
    if (in.line_info_cnt > 0x7fffffffU / sizeof(program::LineInfo)) return refuse(EINVAL, "too many line info records");
    program.lines =
        ANYBPF_TRY(read_records<program::LineInfo>(in.line_info, in.line_info_cnt, in.line_info_rec_size, "line_info",
                                                   offsetof(uapi::ProgLoad, line_info_rec_size)));
    const auto named = [&](u32 offset) { return program.btf->string(offset).data() != nullptr; };
    std::size_t next = 0;
    u32 previous = 0;
    for (std::size_t i = 0; i < program.lines.size(); ++i) {
        const auto& line = program.lines[i];
        const std::string which = "line_info[" + std::to_string(i) + "]";
        if ((i != 0 && line.insn <= previous) || line.insn >= program.insns.size())
            return say(EINVAL, "Invalid " + which + ".insn_off:" + std::to_string(line.insn) +
                                   " (prev_offset:" + std::to_string(previous) +
                                   " prog->len:" + std::to_string(program.insns.size()) + ")");
        if (program.insns[line.insn].code == 0) return say(EINVAL, "Invalid insn code at " + which + ".insn_off");
        if (!named(line.line_off) || !named(line.file_name_off))
            return say(EINVAL, "Invalid " + which + ".line_off or .file_name_off");
        if (next < starts.size()) {
            if (line.insn == starts[next])
                ++next;
            else if (starts[next] < line.insn)
                return say(EINVAL, "missing bpf_line_info for func#" + std::to_string(next));
        }
        previous = line.insn;
    }
    if (next != starts.size())
        return say(EINVAL, "missing bpf_line_info for func#" + std::to_string(next) + " starting from " +
                               std::to_string(starts[next]));
    return {};
}

// The index of the map in the program, where it is added when it is new.
Result<u32> Loading::use_map(u64 fd) {
    const auto id = state.find(fd, ObjectKind::map);
    if (!id)
        return say(id.error().sys_errno,
                   "fd " + std::to_string(static_cast<int>(fd)) + " is not pointing to valid bpf_map");
    for (u32 i = 0; i < program.maps.size(); ++i)
        if (program.maps[i].id == *id) return i;
    if (program.maps.size() >= uapi::max_used_maps)
        return say(E2BIG, "The total number of maps per program has reached the limit of 64");
    handles.push_back(ANYBPF_TRY(state.keep(fd)));
    auto mapped = ANYBPF_TRY(state.map_by_id(*id));
    const auto& spec = mapped->map->spec();
    program::MapInfo info = ANYBPF_TRY(state.describe(*mapped->map));
    if (mapped->map->frozen() && (spec.flags & abi::map_rdonly_prog) != 0 && mapped->map->values() != nullptr)
        info.frozen = std::span(mapped->map->values(), std::size_t{spec.value_size} * spec.max_entries);
    if (program.sleepable && (spec.type == MapType::prog_array || spec.type == MapType::perf_event_array))
        return say(EINVAL, "Sleepable programs can only use array, hash, ringbuf and local storage maps");
    if (spec.type == MapType::prog_array)
        if (auto alike = state.check_compatible(*id, program.type); !alike) return say(EINVAL, alike.error().message);
    program.maps.push_back(std::move(info));
    maps.push_back(std::move(mapped));
    return static_cast<u32>(program.maps.size() - 1);
}

// resolve_pseudo_ldimm64(): descriptors become indices into the program's maps. Other instructions, good or bad, are
// the verifier's.
Result<> Loading::resolve_maps() {
    for (std::size_t pc = 0; pc < program.insns.size(); ++pc) {
        Insn& insn = program.insns[pc];
        if (insn.code != lddw) continue;
        if (pc + 1 == program.insns.size()) return {};  // the verifier says so
        const Insn& second = program.insns[pc + 1];
        const auto pseudo = static_cast<Pseudo>(insn.src);
        if (insn.src == 0 || pseudo == Pseudo::func || pseudo == Pseudo::btf_id) {
            ++pc;
            continue;
        }
        if (insn.src > static_cast<u8>(Pseudo::map_idx_value) || second.code != 0 || second.dst != 0 ||
            second.src != 0 || second.off != 0)
            return say(EINVAL, "invalid bpf_ld_imm64 insn");
        const bool value = pseudo == Pseudo::map_value || pseudo == Pseudo::map_idx_value;
        const bool indexed = pseudo == Pseudo::map_idx || pseudo == Pseudo::map_idx_value;
        if (!value && second.imm != 0) return say(EINVAL, "unrecognized bpf_ld_imm64 insn");
        u64 fd = static_cast<u32>(insn.imm);
        if (indexed) {
            if (in.fd_array == 0) return say(EPROTO, "fd_idx without fd_array is invalid");
            fd = static_cast<u32>(
                ANYBPF_TRY(read_user<i32>(in.fd_array + u64{static_cast<u32>(insn.imm)} * sizeof(i32))));
        }
        const u32 index = ANYBPF_TRY(use_map(fd));
        if (value) {
            const auto& info = program.maps[index];
            const u32 offset = static_cast<u32>(second.imm);
            if (offset >= 1U << 29)
                return say(EINVAL, "direct value offset of " + std::to_string(offset) + " is not allowed");
            const auto outside = [&](int error) {
                return say(error, "invalid access to map value pointer, value_size=" + std::to_string(info.value_size) +
                                      " off=" + std::to_string(offset));
            };
            constexpr u64 page_size = 4096;
            if (info.type == MapType::arena) {
                if (offset > info.max_entries * page_size) return outside(ERANGE);
            } else if (info.type != MapType::array) {
                return say(EINVAL, "no direct value access support for this map type");
            } else if (info.max_entries != 1 || offset >= info.value_size) {
                return outside(info.max_entries != 1 ? not_supported : EINVAL);
            }
        }
        insn.src = static_cast<u8>(value ? Pseudo::map_idx_value : Pseudo::map_idx) & 0xf;
        insn.imm = static_cast<i32>(index);
        ++pc;
    }
    return {};
}

// The tag of 6.18: SHA-256 over the instructions as loaded, with maps' descriptors (and offsets into their values)
// zeroed, cut to 8 bytes.
std::array<u8, 8> tag_of(std::vector<Insn> insns) {
    for (std::size_t pc = 0; pc + 1 < insns.size(); ++pc) {
        if (insns[pc].code != lddw) continue;
        const auto pseudo = static_cast<Pseudo>(insns[pc].src);
        if (pseudo == Pseudo::map_fd || pseudo == Pseudo::map_value) insns[pc].imm = insns[pc + 1].imm = 0;
        ++pc;
    }
    const auto digest = sha256(std::as_bytes(std::span(insns)));
    std::array<u8, 8> tag;
    std::copy_n(digest.begin(), tag.size(), tag.begin());
    return tag;
}

// The file, laid out: header, then each table at a multiple of 16.
class Layout {
  public:
    template <class T>
    u32 add(std::span<const T> table) {
        bytes_.resize((bytes_.size() + 15) / 16 * 16);
        const auto offset = static_cast<u32>(bytes_.size());
        const auto bytes = std::as_bytes(table);
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return offset;
    }
    explicit Layout(std::size_t header) : bytes_(header) {}
    std::vector<std::byte>& bytes() { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

// bpf_prog_load_check_attach(), for the types that look at expected_attach_type.
bool attach_type_is_good(abi::ProgType type, u32 attach) {
    const auto at = static_cast<abi::AttachType>(attach);
    using abi::AttachType;
    using abi::ProgType;
    if (type == ProgType::cgroup_sock)
        return at == AttachType::cgroup_inet_sock_create || at == AttachType::cgroup_inet_sock_release ||
               at == AttachType::cgroup_inet4_post_bind || at == AttachType::cgroup_inet6_post_bind;
    if (type == ProgType::cgroup_skb)
        return at == AttachType::cgroup_inet_ingress || at == AttachType::cgroup_inet_egress;
    if (type == ProgType::cgroup_sockopt)
        return at == AttachType::cgroup_getsockopt || at == AttachType::cgroup_setsockopt;
    if (type == ProgType::sk_lookup) return at == AttachType::sk_lookup;
    if (type == ProgType::syscall || type == ProgType::ext) return attach == 0;
    return true;
}

bool attaches_by_btf(abi::ProgType type) {
    using abi::ProgType;
    return type == ProgType::tracing || type == ProgType::lsm || type == ProgType::struct_ops || type == ProgType::ext;
}

// What the kernel ends with: EINVAL for what is wrong with the program as such, E2BIG for too much of it, EACCES for
// what it would do at run time.
int errno_of(verifier::Finding finding) {
    using verifier::Finding;
    for (const Finding big : {Finding::too_many_subprograms, Finding::too_many_frames, Finding::too_complex,
                              Finding::too_many_branches, Finding::recursion})
        if (finding == big) return E2BIG;
    if (finding == Finding::second_arena) return EBUSY;
    if (finding == Finding::arena_unprivileged) return EPERM;
    for (const Finding invalid : {Finding::unsupported_program_type,
                                  Finding::bad_program_size,
                                  Finding::bad_insn,
                                  Finding::unsupported_insn,
                                  Finding::must_sleep,
                                  Finding::bad_register,
                                  Finding::jump_out_of_range,
                                  Finding::falls_off_end,
                                  Finding::unreachable_insn,
                                  Finding::bad_call_target,
                                  Finding::no_kernel_types,
                                  Finding::bad_attach_target,
                                  Finding::program_gpl_only,
                                  Finding::unknown_symbol,
                                  Finding::typed_gpl_only,
                                  Finding::helper_attach,
                                  Finding::typed_untrusted,
                                  Finding::unknown_kfunc,
                                  Finding::kfunc_device,
                                  Finding::kfunc_gpl_only,
                                  Finding::kfunc_program_type,
                                  Finding::kfunc_sleepable,
                                  Finding::kfunc_needs_rcu,
                                  Finding::kfunc_release,
                                  Finding::kfunc_argument,
                                  Finding::kfunc_unsupported,
                                  Finding::section_nested,
                                  Finding::section_unmatched,
                                  Finding::section_open,
                                  Finding::sleeps_in_section,
                                  Finding::object_place,
                                  Finding::dynptr_missing,
                                  Finding::dynptr_overwritten,
                                  Finding::iterator_missing,
                                  Finding::iterator_twice,
                                  Finding::interrupts_order,
                                  Finding::global_argument_type,
                                  Finding::global_result,
                                  Finding::global_argument,
                                  Finding::bad_map_reference,
                                  Finding::bad_callback_target,
                                  Finding::infinite_loop,
                                  Finding::mixed_regions,
                                  Finding::cast_spaces,
                                  Finding::cast_without_arena,
                                  Finding::extension_target,
                                  Finding::bad_extension,
                                  Finding::extension_argument,
                                  Finding::unknown_helper,
                                  Finding::helper_unavailable,
                                  Finding::helper_gpl_only,
                                  Finding::helper_program_type,
                                  Finding::helper_sleepable,
                                  Finding::wrong_map_type,
                                  Finding::bad_format,
                                  Finding::record_modified,
                                  Finding::record_leak,
                                  Finding::tail_call_in_frame,
                                  Finding::callback_return,
                                  Finding::lock_held_call,
                                  Finding::lock_again,
                                  Finding::lock_order,
                                  Finding::lock_held_kfunc,
                                  Finding::lock_held_global,
                                  Finding::lock_required,
                                  Finding::lock_elsewhere,
                                  Finding::bad_map_fields,
                                  Finding::bad_type_fields,
                                  Finding::field_map_type,
                                  Finding::foreign_types,
                                  Finding::kptr_not_owned,
                                  Finding::no_kptr,
                                  Finding::no_field,
                                  Finding::graph_node,
                                  Finding::no_refcount,
                                  Finding::object_type,
                                  Finding::percpu_type,
                                  Finding::less_changes,
                                  Finding::work_of_other_map,
                                  Finding::bad_exception_callback,
                                  Finding::throw_in_callback})
        if (finding == invalid) return EINVAL;
    return EACCES;
}

// Its machine code, or nothing: then it is interpreted.
std::vector<std::byte> compiled(Kernel::State& state, const program::Lowered& lowered, std::span<const u32> map_ids) {
    const auto compile = state.compile.load();
    if (compile == nullptr) return {};
    std::vector<std::shared_ptr<const MappedMap>> maps;
    std::vector<engine::BoundMap> bound;
    for (const u32 id : map_ids) {
        auto mapped = state.map_by_id(id);
        if (!mapped) return {};
        bound.push_back({(*mapped)->map.get(), (*mapped)->map->values(), (*mapped)->map->array()});
        maps.push_back(std::move(*mapped));
    }
    auto code = compile(lowered, bound, &helpers::bodies());
    return code ? std::move(*code) : std::vector<std::byte>();
}

}  // namespace

Result<long> Kernel::State::prog_load(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::ProgLoad>());
    if ((in.prog_flags & ~uapi::prog_flags) != 0) return refuse(EINVAL, "unknown program flags");
    if (in.insn_cnt == 0 || in.insn_cnt > max_insns) return refuse(E2BIG, "a program has 1 to 1000000 instructions");
    const auto type = static_cast<abi::ProgType>(in.prog_type);
    if (in.attach_prog_fd != 0) return refuse(EINVAL, "programs cannot be attached to programs here");
    if (in.attach_btf_id != 0 && !attaches_by_btf(type))
        return refuse(EINVAL, "programs of this type are not attached by BTF");
    if (in.attach_btf_id != 0 && kernel_btf == nullptr && type != abi::ProgType::ext)
        return refuse(EINVAL, "attaching by BTF (fentry, tp_btf, lsm) needs the kernel's BTF, and there is none");
    if (!attach_type_is_good(type, in.expected_attach_type))
        return refuse(EINVAL, "the expected attach type does not go with the program type");

    Loading loading{.state = *this, .in = in, .attr = attr, .log = {}, .program = {}, .handles = {}, .maps = {}};
    program::Program& program = loading.program;
    ANYBPF_TRY(loading.read_insns());
    const auto license = ANYBPF_TRY(read_user_text(in.license, 127));
    program.gpl_compatible = gpl_compatible(license);
    if (in.signature != 0 || in.signature_size != 0 || in.prog_ifindex != 0 || in.core_relo_cnt != 0 ||
        (in.prog_flags & uapi::flag_token_fd) != 0)
        return refuse(EINVAL, "signatures, devices, tokens and relocation by the kernel are not supported");
    if (abi::to_string(type) == "unknown" || type == abi::ProgType::unspec)
        return refuse(EINVAL, "there is no such program type");
    if (!name_is_good(in.prog_name))
        return refuse(EINVAL, "the program's name has other characters than letters, digits, '_' and '.'");
    program.name = std::string(in.prog_name.data(), ::strnlen(in.prog_name.data(), in.prog_name.size()));
    program.type = type;
    program.expected_attach_type = static_cast<abi::AttachType>(in.expected_attach_type);
    program.sleepable = (in.prog_flags & uapi::prog_sleepable) != 0;
    program.kernel_btf = kernel_btf;
    program.attach_btf_id = in.attach_btf_id;
    if (type == abi::ProgType::ext) extended.with([&](const auto& target) { program::extend(program, target); });

    const auto tag = tag_of(program.insns);
    const Log log{.level = in.log_level, .size = in.log_size, .buffer = in.log_buf};
    ANYBPF_TRY(log.check());
    const Limits allowed = limits.with([](const Limits& now) { return now; });
    verifier::Report report;
    Result<program::Lowered> lowered;
    const Result<> outcome = [&]() -> Result<> {
        ANYBPF_TRY(loading.read_function_info());
        const auto starts = subprogram_starts(program);
        ANYBPF_TRY(loading.check_function_info(starts));
        ANYBPF_TRY(loading.read_line_info(starts));
        ANYBPF_TRY(loading.resolve_maps());
        // On processors like this one everything may be unaligned, if nobody asks for another.
        constexpr u32 strictly = uapi::prog_strict_alignment, any = uapi::prog_any_alignment;
        report = arena.with([&](verifier::Arena& memory) {
            return verifier::verify(program, {.log_level = log.level & ~uapi::log_fixed,
                                              .max_insns = allowed.max_insns,
                                              .stack_bytes = allowed.stack_bytes,
                                              .strict_alignment = (in.prog_flags & (strictly | any)) == strictly,
                                              .allow_ptr_leaks = !unprivileged,
                                              .arena = &memory});
        });
        report.options.arena = nullptr;  // it is another load's now
        if (const auto told = watcher.with([](const Watcher& it) { return it; })) told(program, report);
        if (!report.accepted) {
            // Behind the kernel's own text, which tools parse, what a person wants to know.
            loading.log += report.log;
            if (log.level != 0) loading.log += verifier::explain(report, program);
            return refuse(errno_of(report.diagnostic.what), verifier::message(report.diagnostic, program));
        }
        loading.log += report.log;
        // The rules of the kernel are satisfied; that this machine lacks what the program needs is another matter,
        // which `anybpf verify` tells from a refusal by these words.
        const auto lacks = [&](const std::string& what) {
            return loading.say(EOPNOTSUPP, std::string(abi::cannot_run_here) + what);
        };
        if (program.attach_btf_id != 0) return lacks("programs are not attached by BTF");
        for (const auto& mapped : loading.maps)
            if (const auto& spec = mapped->map->spec(); spec.outline)
                return lacks("there are no maps of type " + std::string(abi::to_string(spec.type)));
        lowered = engine::lower(program, report.proof);
        return lowered ? Result<>() : lacks(lowered.error().message);
    }();
    u32 true_size = 0;
    const auto logged = log.finish(loading.log, true_size);
    if (attr.size() >= offsetof(uapi::ProgLoad, log_true_size) + sizeof(u32))
        ANYBPF_TRY(attr.put(offsetof(uapi::ProgLoad, log_true_size), true_size));
    if (!logged) return tl::make_unexpected(logged.error());
    if (!outcome) return tl::make_unexpected(outcome.error());

    std::vector<u32> map_ids;
    for (const auto& map : program.maps) map_ids.push_back(map.id);
    ProgramFile header{};
    header.magic = program_magic;
    header.version = program_version;
    header.type = in.prog_type;
    header.expected_attach_type = in.expected_attach_type;
    header.flags = (program.gpl_compatible ? program_gpl : 0) | (program.sleepable ? program_sleepable : 0);
    header.tag = tag;
    header.name = in.prog_name;
    header.load_time_ns = boot_time_ns();
    header.uid = ::getuid();
    header.verifier_version = verifier::version;
    header.hash = hash_of(*lowered, map_ids);
    header.map_count = static_cast<u32>(map_ids.size());
    header.btf_id = loading.btf_id;
    header.verified_insns = static_cast<u32>(report.processed);
    header.stack_limit = allowed.stack_bytes;
    header.context_bytes = report.proof.context_bytes;
    if (const auto at = abi::packet_addresses_at(program.type))
        header.context_bytes = *at + u32{sizeof(abi::PacketAddresses)};
    header.lowered_count = static_cast<u32>(lowered->insns.size());
    header.map_use_count = static_cast<u32>(lowered->map_uses.size());
    header.subprogram_count = static_cast<u32>(lowered->subprograms.size());
    header.insn_count = static_cast<u32>(program.insns.size());
    header.func_info_count = static_cast<u32>(program.funcs.size());
    header.line_info_count = static_cast<u32>(program.lines.size());
    Layout layout(sizeof(header));
    header.lowered_offset = layout.add(std::span<const program::LoweredInsn>(lowered->insns));
    header.map_use_offset = layout.add(std::span<const program::MapUse>(lowered->map_uses));
    header.subprogram_offset = layout.add(std::span<const program::LoweredSubprogram>(lowered->subprograms));
    header.map_ids_offset = layout.add(std::span<const u32>(map_ids));
    header.insn_offset = layout.add(std::span<const Insn>(program.insns));
    header.func_info_offset = layout.add(std::span<const program::FuncInfo>(program.funcs));
    header.line_info_offset = layout.add(std::span<const program::LineInfo>(program.lines));
    const std::vector<std::byte> code = compiled(*this, *lowered, map_ids);
    header.code_bytes = static_cast<u32>(code.size());
    header.code_offset = layout.add(std::span<const std::byte>(code));
    header.code_hash = hash_of_code(header.hash, code);

    Birth birth = ANYBPF_TRY(root.begin(ObjectKind::prog, layout.bytes().size()));
    header.id = birth.object.id;
    std::memcpy(layout.bytes().data(), &header, sizeof(header));
    const Result<> filled = [&]() -> Result<> {
        if (!write_at(birth.file.get(), layout.bytes(), 0)) return fail_errno("writing a program's file");
        for (const u32 map : map_ids)
            ANYBPF_TRY(root.refer(birth, "map-" + std::to_string(map), {ObjectKind::map, map}));
        if (loading.btf_id != 0) ANYBPF_TRY(root.refer(birth, "btf", {ObjectKind::btf, loading.btf_id}));
        return {};
    }();
    if (!filled) {
        root.give_up(std::move(birth));
        return tl::make_unexpected(filled.error());
    }
    Fd file = ANYBPF_TRY(root.publish(std::move(birth)));
    born();
    return file.release();
}

Result<long> Kernel::State::prog_bind_map(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::ProgBindMap>());
    if (in.flags != 0) return refuse(EINVAL, "unknown flags");
    const u32 program = ANYBPF_TRY(find(in.prog_fd, ObjectKind::prog));
    const u32 map = ANYBPF_TRY(find(in.map_fd, ObjectKind::map));
    const Fd program_handle = ANYBPF_TRY(keep(in.prog_fd)), map_handle = ANYBPF_TRY(keep(in.map_fd));
    ANYBPF_TRY(
        root.link_beside("prog-" + std::to_string(program) + "/map-" + std::to_string(map), {ObjectKind::map, map}));
    return 0;
}

}  // namespace anybpf::kernel
