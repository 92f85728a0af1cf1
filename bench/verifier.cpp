// SPDX-License-Identifier: Apache-2.0
// bench_verifier [--json] [NAME]: what it costs to verify a program, here and in the machine's own kernel.
//
// The programs of bench/programs, as libbpf relocates them, go to verifier::verify() and to BPF_PROG_LOAD: the same
// instructions, the same maps, no BTF on either side. Every round asks both, in turn; times are medians over the
// rounds. Of the kernel it is the wall time of the system call, with its JIT and, where that may be switched off,
// without; what it processed is what its log says.
#include "anybpf/verifier/verifier.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>

#include "anybpf/base/fd.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "anybpf/preload/preload.hpp"

namespace {

using namespace anybpf;

// What is allocated while somebody counts. The verifier runs in one thread, and so does this program.
struct Heap {
    bool counting = false;
    std::size_t now = 0, peak = 0;
} heap;

}  // namespace

void* operator new(std::size_t size) {
    void* const memory = std::malloc(size);
    if (memory == nullptr) std::abort();
    if (heap.counting) {
        heap.now += ::malloc_usable_size(memory);
        heap.peak = std::max(heap.peak, heap.now);
    }
    return memory;
}
void operator delete(void* memory) noexcept {
    if (heap.counting && memory != nullptr) heap.now -= std::min(heap.now, ::malloc_usable_size(memory));
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

constexpr int rounds = 7;
constexpr double round_ns = 5e6;   // short programs are verified that long in a round
constexpr double long_ns = 1.5e9;  // what takes so long is measured in fewer rounds
constexpr u64 target_ns_per_insn = 100;
constexpr double target_processed = 1.1, target_faster = 5;
constexpr u64 state_bytes = 2048, fixed_bytes = 1U << 20;  // of memory, by the target

[[noreturn]] void give_up(std::string_view what) {
    fmt::print(stderr, "bench_verifier: {}\n", what);
    std::exit(1);
}
double median(std::vector<double> values) {
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}
// Of this thread alone, in user space and in the kernel: what else the machine does is not in it.
double now_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// ----------------------------------------------------------------------------------------------------------- programs

struct Case {
    std::string group;
    program::Program program;
    std::vector<std::vector<std::byte>> contents;  // of frozen maps, by map
};

// Where libbpf is about to load a program that it has relocated.
struct Collector {
    Case* into = nullptr;
    bpf_object* object = nullptr;
};

program::MapInfo describe(const bpf_map* map) {
    return {.id = 1,
            .type = static_cast<abi::MapType>(::bpf_map__type(map)),
            .key_size = ::bpf_map__key_size(map),
            .value_size = ::bpf_map__value_size(map),
            .max_entries = ::bpf_map__max_entries(map),
            .flags = ::bpf_map__map_flags(map),
            .name = ::bpf_map__name(map),
            .frozen = {}};
}

int collect(bpf_program* prog, bpf_prog_load_opts*, long cookie) {
    const Collector& collector = *reinterpret_cast<const Collector*>(cookie);
    program::Program& out = collector.into->program;
    out.name = ::bpf_program__name(prog);
    out.type = static_cast<abi::ProgType>(::bpf_program__type(prog));
    out.expected_attach_type = static_cast<abi::AttachType>(::bpf_program__expected_attach_type(prog));
    out.gpl_compatible = true;
    static_assert(sizeof(isa::Insn) == sizeof(bpf_insn));
    out.insns.resize(::bpf_program__insn_cnt(prog));
    std::memcpy(static_cast<void*>(out.insns.data()), ::bpf_program__insns(prog), out.insns.size() * sizeof(isa::Insn));
    std::vector<int> fds;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, collector.object) {
        out.maps.push_back(describe(map));
        fds.push_back(::bpf_map__fd(map));
        auto& contents = collector.into->contents.emplace_back();
        if ((out.maps.back().flags & abi::map_rdonly_prog) == 0) continue;
        std::size_t size = 0;
        const auto* const bytes = static_cast<const std::byte*>(::bpf_map__initial_value(map, &size));
        contents.assign(bytes, bytes + size);
    }
    for (u32 i = 0; i < out.maps.size(); ++i) out.maps[i].frozen = collector.into->contents[i];
    for (u32 pc = 0; pc < out.insns.size(); pc += isa::slots(out.insns[pc])) {
        isa::Insn& insn = out.insns[pc];
        if (insn.code != isa::code_wide || (insn.src != BPF_PSEUDO_MAP_FD && insn.src != BPF_PSEUDO_MAP_VALUE))
            continue;
        const auto found = std::ranges::find(fds, insn.imm);
        if (found == fds.end()) give_up(out.name + " names a map that its object does not have");
        insn.imm = static_cast<i32>(found - fds.begin());
        insn.src = insn.src == BPF_PSEUDO_MAP_FD ? BPF_PSEUDO_MAP_IDX : BPF_PSEUDO_MAP_IDX_VALUE;
    }
    return -ECANCELED;  // nobody needs it loaded
}

// They are never taken back: libbpf 1.1 frees what it keeps of them twice.
void register_sections(Collector& collector) {
    struct Section {
        const char* name;
        bpf_prog_type type;
    };
    for (const Section& section : {Section{"xdp", BPF_PROG_TYPE_XDP}, Section{"tc", BPF_PROG_TYPE_SCHED_CLS},
                                   Section{"kprobe", BPF_PROG_TYPE_KPROBE}}) {
        libbpf_prog_handler_opts options{};
        options.sz = sizeof(options);
        options.cookie = reinterpret_cast<long>(&collector);
        options.prog_prepare_load_fn = collect;
        if (::libbpf_register_prog_handler(section.name, section.type, bpf_attach_type{}, &options) < 0)
            give_up("libbpf takes no handler for programs");
    }
}

// One program of an object.
Case read(Collector& collector, const std::string& group, const std::string& file, const std::string& name) {
    Case out{.group = group, .program = {}, .contents = {}};
    bpf_object* const object = ::bpf_object__open(file.c_str());
    if (object == nullptr) give_up("libbpf cannot open " + file);
    collector = {.into = &out, .object = object};
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object)::bpf_program__set_autoload(program,
                                                                             name == ::bpf_program__name(program));
    const int error = ::bpf_object__load(object);
    if (out.program.insns.empty()) give_up(fmt::format("{}: libbpf does not load {}: {}", file, name, error));
    ::bpf_object__close(object);
    return out;
}

std::vector<std::string> names(const std::string& file) {
    bpf_object* const object = ::bpf_object__open(file.c_str());
    if (object == nullptr) give_up("libbpf cannot open " + file);
    std::vector<std::string> out;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object) out.emplace_back(::bpf_program__name(program));
    ::bpf_object__close(object);
    return out;
}

std::vector<Case> cases(const std::string& only) {
    ::libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    const std::string folder = std::filesystem::canonical("/proc/self/exe").parent_path();
    static Collector collector;
    register_sections(collector);
    // libbpf's own calls are answered by a kernel of ours, so that this works everywhere.
    const std::string root = "/dev/shm/anybpf-bench-" + std::to_string(::getpid());
    auto kernel = kernel::Kernel::open(root);
    if (!kernel) give_up(kernel.error().message);
    std::vector<Case> out;
    {
        const auto interposition = preload::install(**kernel);
        for (const char* group : {"small", "medium", "heavy"}) {
            const std::string file = fmt::format("{}/{}.bpf.o", folder, group);
            for (const std::string& name : names(file))
                if (only.empty() || only == name) out.push_back(read(collector, group, file, name));
        }
    }
    std::filesystem::remove_all(root);
    return out;
}

// ------------------------------------------------------------------------------------------------------------ verdicts

struct Measured {
    double ns = 0;
    u64 processed = 0, states = 0, peak_states = 0;
    std::string refused = {};  // why
};

struct Ours {
    Measured measured;
    std::size_t bytes = 0;  // allocated at most, while it is verified
};

// Memory is used again by the next load, as our bpf(2) does it, and the kernel.
verifier::Options options() {
    static verifier::Arena arena;
    return {.arena = &arena};
}

double verify_ns(const program::Program& program, u32 repeat) {
    const verifier::Options privileged = options();
    const double start = now_ns();
    for (u32 i = 0; i < repeat; ++i) (void)verifier::verify(program, privileged);
    return (now_ns() - start) / repeat;
}

Ours look(const program::Program& program) {
    Ours out;
    (void)verifier::verify(program, options());  // so that the arena's pieces are not counted
    const double start = now_ns();
    heap = {.counting = true};
    const auto report = verifier::verify(program, options());
    heap.counting = false;
    out.bytes = heap.peak + report.peak_bytes;
    out.measured = {.ns = now_ns() - start,
                    .processed = report.processed,
                    .states = report.states,
                    .peak_states = report.peak_states,
                    .refused = report.accepted ? "" : verifier::message(report.diagnostic, program)};
    return out;
}

// The machine's own verifier, with maps of its own.
class Machine {
  public:
    explicit Machine(const Case& which) : insns_(which.program.insns), type_(which.program.type) {
        std::vector<int> fds;
        for (u32 i = 0; i < which.program.maps.size(); ++i) fds.push_back(create(which, i));
        if (!missing.empty()) return;
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
            isa::Insn& insn = insns_[pc];
            if (insn.code != isa::code_wide || (insn.src != BPF_PSEUDO_MAP_IDX && insn.src != BPF_PSEUDO_MAP_IDX_VALUE))
                continue;
            insn.imm = fds[static_cast<u32>(insn.imm)];
            insn.src = insn.src == BPF_PSEUDO_MAP_IDX ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
        }
        std::string log(1U << 16, '\0');
        double ns = 0;
        if (const int error = load(4, &log, ns); error == EPERM || error == ENOSYS) {
            missing = std::strerror(error);
        } else {
            if (error != 0) measured.refused = log.substr(0, log.find('\n'));
            measured.processed = number_after(log, "processed ");
            measured.states = number_after(log, "total_states ");
            measured.peak_states = number_after(log, "peak_states ");
            verification_ns = 1e3 * static_cast<double>(number_after(log, "verification time "));
            measured.ns = ns;
        }
    }
    double load_ns() const {
        double ns = 0;
        load(0, nullptr, ns);
        return ns;
    }
    std::string missing;  // why there is none
    Measured measured;
    double verification_ns = 0;  // as its log says, without JIT

  private:
    int create(const Case& which, u32 index) {
        const program::MapInfo& map = which.program.maps[index];
        bpf_map_create_opts options{};
        options.sz = sizeof(options);
        options.map_flags = map.flags;
        Fd fd(::bpf_map_create(static_cast<bpf_map_type>(map.type), "bench", map.key_size, map.value_size,
                               map.max_entries, &options));
        const u32 zero = 0;
        if (!fd.valid()) {
            missing = fmt::format("{}: {}", map.name, std::strerror(errno));
        } else if (const auto& bytes = which.contents[index]; !bytes.empty()) {
            if (::bpf_map_update_elem(fd.get(), &zero, bytes.data(), 0) != 0 || ::bpf_map_freeze(fd.get()) != 0)
                missing = fmt::format("{}: {}", map.name, std::strerror(errno));
        }
        maps_.push_back(std::move(fd));
        return maps_.back().get();
    }
    int load(u32 level, std::string* log, double& ns) const {
        bpf_prog_load_opts options{};
        options.sz = sizeof(options);
        options.log_level = level;
        if (log != nullptr) options.log_buf = log->data(), options.log_size = static_cast<u32>(log->size());
        const double start = now_ns();
        const Fd fd(::bpf_prog_load(static_cast<bpf_prog_type>(type_), "bench", "GPL",
                                    reinterpret_cast<const bpf_insn*>(insns_.data()), insns_.size(), &options));
        const int error = fd.valid() ? 0 : errno;
        ns = now_ns() - start;
        return error;
    }
    // The number behind a word of the log's last lines.
    static u64 number_after(const std::string& log, std::string_view word) {
        const auto at = log.rfind(word);
        return at == log.npos ? 0 : std::strtoull(log.c_str() + at + word.size(), nullptr, 10);
    }

    std::vector<isa::Insn> insns_;
    abi::ProgType type_;
    std::vector<Fd> maps_;
};

// net.core.bpf_jit_enable, put back as it was.
class JitSwitch {
  public:
    JitSwitch() {
        std::ifstream in(path);
        in >> before_;
    }
    ~JitSwitch() {
        if (before_ >= 0) write(before_);
    }
    JitSwitch(const JitSwitch&) = delete;
    JitSwitch& operator=(const JitSwitch&) = delete;
    bool set(bool on) {
        if (before_ < 0 || !write(on ? 1 : 0)) return false;
        int is = -1;
        std::ifstream in(path);
        in >> is;
        return is == (on ? 1 : 0);
    }

  private:
    static constexpr const char* path = "/proc/sys/net/core/bpf_jit_enable";
    static bool write(int value) {
        std::ofstream out(path);
        out << value;
        out.flush();
        return out.good();
    }
    int before_ = -1;
};

// -------------------------------------------------------------------------------------------------------- measurements

struct Row {
    const Case* which = nullptr;
    Ours ours;
    std::optional<Measured> kernel = {};
    double verification_ns = 0;
    std::optional<double> without_jit_ns = {};
    std::size_t insns() const { return which->program.insns.size(); }
    bool refused() const { return !ours.measured.refused.empty() || (kernel && !kernel->refused.empty()); }
    double processed_ratio() const {
        return static_cast<double>(ours.measured.processed) / static_cast<double>(std::max<u64>(kernel->processed, 1));
    }
    double time_ratio() const { return kernel->ns / ours.measured.ns; }
};

double per_insn(const Measured& measured) {
    return measured.ns / static_cast<double>(std::max<u64>(measured.processed, 1));
}

Row measure(const Case& which, JitSwitch& jit, std::string& missing) {
    Row row{.which = &which, .ours = look(which.program)};
    const Machine machine(which);
    if (!machine.missing.empty()) missing = machine.missing;
    const bool with_kernel = machine.missing.empty();
    if (with_kernel) row.kernel = machine.measured, row.verification_ns = machine.verification_ns;
    const double first = row.ours.measured.ns;
    const u32 repeat = static_cast<u32>(std::clamp(round_ns / first, 1.0, 1000.0));
    const u32 kernel_repeat =
        with_kernel ? static_cast<u32>(std::clamp(round_ns / machine.measured.ns, 1.0, 100.0)) : 0;
    const int times = first > long_ns || machine.measured.ns > long_ns ? 3 : rounds;
    std::vector<double> ours, with_jit, without_jit;
    const auto kernel_round = [&] {
        double sum = 0;
        for (u32 i = 0; i < kernel_repeat; ++i) sum += machine.load_ns();
        return sum / kernel_repeat;
    };
    for (int round = 0; round < times; ++round) {
        ours.push_back(verify_ns(which.program, repeat));
        if (!with_kernel) continue;
        const bool off = jit.set(false);
        if (off) without_jit.push_back(kernel_round());
        jit.set(true);
        with_jit.push_back(kernel_round());
    }
    row.ours.measured.ns = median(ours);
    if (with_kernel) row.kernel->ns = median(with_jit);
    if (!without_jit.empty()) row.without_jit_ns = median(without_jit);
    return row;
}

// -------------------------------------------------------------------------------------------------------------- report

struct Target {
    std::string what;
    double limit = 0, reached = 0;
    bool at_least = false;
    std::string missed_by = {};
    bool met() const { return missed_by.empty() && (at_least ? reached >= limit : reached <= limit); }
};

struct Sum {
    u64 ours_processed = 0, kernel_processed = 0;
    double ours_ns = 0, kernel_ns = 0, without_jit_ns = 0;
};
Sum sum_of(const std::vector<Row>& rows) {
    Sum sum;
    for (const Row& row : rows) {
        if (row.refused()) continue;
        sum.ours_processed += row.ours.measured.processed, sum.ours_ns += row.ours.measured.ns;
        if (row.kernel) sum.kernel_processed += row.kernel->processed, sum.kernel_ns += row.kernel->ns;
        if (row.without_jit_ns) sum.without_jit_ns += *row.without_jit_ns;
    }
    return sum;
}

std::vector<Target> targets(const std::vector<Row>& rows, bool with_kernel) {
    std::vector<Target> all;
    const Sum sum = sum_of(rows);
    const auto each = [&](std::string what, double limit, auto&& value) {
        Target target{.what = std::move(what), .limit = limit};
        for (const Row& row : rows) {
            const double reached = row.refused() ? 0 : value(row);
            target.reached = std::max(target.reached, reached);
            if (reached > limit)
                target.missed_by +=
                    fmt::format("{}{} {:.2f}", target.missed_by.empty() ? "" : ", ", row.which->program.name, reached);
        }
        all.push_back(std::move(target));
    };
    all.push_back({.what = "ns for each processed instruction, of all",
                   .limit = target_ns_per_insn,
                   .reached = sum.ours_ns / static_cast<double>(std::max<u64>(sum.ours_processed, 1))});
    each("ns for each processed instruction, heavy programs", target_ns_per_insn,
         [](const Row& row) { return row.which->group == "heavy" ? per_insn(row.ours.measured) : 0; });
    each("peak memory beside peak_states x 2 KiB + 1 MiB, each program", 1, [](const Row& row) {
        return static_cast<double>(row.ours.bytes) /
               static_cast<double>(row.ours.measured.peak_states * state_bytes + fixed_bytes);
    });
    if (!with_kernel) return all;
    each("processed instructions beside the kernel's, each program", target_processed,
         [](const Row& row) { return row.processed_ratio(); });
    all.push_back({.what = "processed instructions beside the kernel's, of all",
                   .limit = 1,
                   .reached = static_cast<double>(sum.ours_processed) /
                              static_cast<double>(std::max<u64>(sum.kernel_processed, 1))});
    all.push_back({.what = "times as fast as the kernel, of all",
                   .limit = target_faster,
                   .reached = sum.kernel_ns / sum.ours_ns,
                   .at_least = true});
    return all;
}

std::string milliseconds(double ns) {
    return ns < 1e6 ? fmt::format("{:.3f}", ns / 1e6) : fmt::format("{:.4g}", ns / 1e6);
}

void print_row(std::string_view name, std::size_t insns, const Measured& ours, const Measured* kernel,
               std::optional<double> without_jit, std::string_view memory) {
    fmt::print("| {} | {} | {} | ", name, insns, ours.processed);
    if (kernel != nullptr)
        fmt::print("{} ({:.2f}) | {:.0f} | {:.0f} | {} | {} ({:.1f}) | {} |", kernel->processed,
                   static_cast<double>(ours.processed) / static_cast<double>(std::max<u64>(kernel->processed, 1)),
                   per_insn(ours), per_insn(*kernel), milliseconds(ours.ns), milliseconds(kernel->ns),
                   kernel->ns / ours.ns, without_jit ? milliseconds(*without_jit) : "");
    else
        fmt::print("| {:.0f} | | {} | | |", per_insn(ours), milliseconds(ours.ns));
    fmt::print(" {} |\n", memory);
}

void print_table(const std::vector<Row>& rows, const std::vector<Target>& all, const std::string& missing) {
    utsname machine{};
    ::uname(&machine);
    fmt::print(
        "Linux {}, {} CPUs, median of {} rounds, `make bench`. CPU time of the loading thread; the kernel's is that of "
        "BPF_PROG_LOAD. In "
        "brackets beside the kernel.\n\n",
        machine.release, ::sysconf(_SC_NPROCESSORS_ONLN), rounds);
    if (!missing.empty()) fmt::print("Without the kernel: {}.\n\n", missing);
    fmt::print(
        "| program | insns | processed | kernel | ns each | kernel | ms | kernel | without JIT | peak_states | KiB |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (const Row& row : rows) {
        if (row.refused()) {
            const bool by_us = !row.ours.measured.refused.empty();
            fmt::print("| {} | {} | refused by {}: {} | {} |\n", row.which->program.name, row.insns(),
                       by_us ? "us" : "the kernel", by_us ? row.ours.measured.refused : row.kernel->refused,
                       by_us && row.kernel ? std::to_string(row.kernel->processed) : "");
            continue;
        }
        print_row(row.which->program.name, row.insns(), row.ours.measured, row.kernel ? &*row.kernel : nullptr,
                  row.without_jit_ns,
                  fmt::format("{} | {}", row.ours.measured.peak_states, (row.ours.bytes + 1023) / 1024));
    }
    const Sum sum = sum_of(rows);
    std::size_t insns = 0;
    for (const Row& row : rows) insns += row.refused() ? 0 : row.insns();
    const Measured ours{.ns = sum.ours_ns, .processed = sum.ours_processed};
    const Measured kernel{.ns = sum.kernel_ns, .processed = sum.kernel_processed};
    print_row("together", insns, ours, missing.empty() ? &kernel : nullptr,
              sum.without_jit_ns > 0 ? std::optional(sum.without_jit_ns) : std::nullopt, "|");
    fmt::print("\n| target | limit | reached | |\n|---|---|---|---|\n");
    for (const Target& target : all)
        fmt::print("| {} | {} {} | {:.2f} | {} |\n", target.what, target.at_least ? "at least" : "at most",
                   target.limit, target.reached,
                   target.met()               ? "met"
                   : target.missed_by.empty() ? "missed"
                                              : "missed: " + target.missed_by);
}

nlohmann::ordered_json to_json(const Measured& measured) {
    nlohmann::ordered_json out{{"ns", measured.ns},
                               {"processed", measured.processed},
                               {"states", measured.states},
                               {"peak_states", measured.peak_states}};
    if (!measured.refused.empty()) out["refused"] = measured.refused;
    return out;
}

void print_json(const std::vector<Row>& rows, const std::vector<Target>& all, const std::string& missing) {
    nlohmann::ordered_json out;
    for (const Row& row : rows) {
        auto& entry = out["programs"][row.which->program.name];
        entry = {{"group", row.which->group}, {"insns", row.insns()}, {"ours", to_json(row.ours.measured)}};
        entry["ours"]["bytes"] = row.ours.bytes;
        if (!row.kernel) continue;
        entry["kernel"] = to_json(*row.kernel);
        entry["kernel"]["verification_ns"] = row.verification_ns;
        if (row.without_jit_ns) entry["kernel"]["without_jit_ns"] = *row.without_jit_ns;
    }
    for (const Target& target : all)
        out["targets"].push_back(
            {{"what", target.what}, {"limit", target.limit}, {"reached", target.reached}, {"met", target.met()}});
    if (!missing.empty()) out["kernel_missing"] = missing;
    fmt::print("{}\n", out.dump(2));
}

}  // namespace

int main(int argc, char** argv) {
    const bool json = argc > 1 && std::string_view(argv[1]) == "--json";
    const int name = json ? 2 : 1;
    const std::vector<Case> all_cases = cases(argc > name ? argv[name] : "");
    if (all_cases.empty()) give_up(fmt::format("no program is called '{}'", argv[name]));
    std::vector<Row> rows;
    std::string missing;
    {
        JitSwitch jit;
        for (const Case& which : all_cases) rows.push_back(measure(which, jit, missing));
    }
    const auto all = targets(rows, missing.empty());
    (json ? print_json : print_table)(rows, all, missing);
    return 0;
}
