// SPDX-License-Identifier: Apache-2.0
// bench_engines [--json]: programs.bpf.c on every engine, in the machine's own kernel, and natively, in one run.
//
// Every round measures every engine of a program once, in turn; the figures are medians over the rounds, of a run that
// is repeated for some milliseconds. Native code is an engine here like the others, so that what surrounds a run costs
// all of them the same; in the kernel that is BPF_PROG_TEST_RUN's own loop.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "anybpf/embed_object.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/kernel/runner.hpp"

extern "C" {
#define BENCH_PROGRAM(name) int bench_##name(void* ctx);
#include "programs.def"
// The programs' data, and what their hash's lookup is natively.
extern anybpf::u32 numbers[1024];
extern anybpf::u8 text_a[1 << 16], text_b[1 << 16], text_c[1 << 16], source[1 << 20], target[1 << 20], packets[64][128];
anybpf::u64* native_hash_lookup(const anybpf::u32* key);
}

namespace {

using namespace anybpf;
using Native = int (*)(void*);

constexpr int rounds = 11;
constexpr double round_ns = 3e6, tolerance = 1.05;
constexpr u32 map_entries = 256;

struct Case {
    std::string name;
    Native native;
    u32 insns = 0;
};
std::vector<Case> cases() {
    return {
#define BENCH_PROGRAM(name) {#name, bench_##name},
#include "programs.def"
    };
}
bool is_byte_loop(std::string_view name) { return name == "memcpy" || name == "memset"; }

enum Side : u32 { native, llvm, jit, interp, kernel, sides };
constexpr std::array<std::string_view, sides> side_names = {"native", "LLVM", "JIT", "interpreter", "kernel"};

[[noreturn]] void give_up(std::string_view what) {
    fmt::print(stderr, "bench_engines: {}\n", what);
    std::exit(1);
}
template <class T>
T must(Result<T> result) {
    if (!result) give_up(result.error().message);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double median(std::vector<double> values) {
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}
double now(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}
// Of this thread alone: what else the machine does does not count.
double ns_of(const std::function<void()>& what, clockid_t clock = CLOCK_THREAD_CPUTIME_ID) {
    const double start = now(clock);
    what();
    return now(clock) - start;
}

// ------------------------------------------------------------------------------------------------------------- inputs

u64 random_state = 1;
u32 random_number() {
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    return static_cast<u32>(random_state >> 33);
}

void make_packet(u8* packet, u32 n) {
    u8* const bytes = packet + 4;
    for (u32 i = 4; i < 128; ++i) packet[i] = static_cast<u8>(random_number());
    u32 length = 124, at = 14;
    std::memcpy(packet, &length, sizeof(length));
    if (n % 5 == 0) {
        bytes[12] = 0x81, bytes[13] = 0;
        at = 18;
    }
    const bool is_4 = n % 3 != 0, is_tcp = n % 4 != 3;
    bytes[at - 2] = is_4 ? 0x08 : 0x86;
    bytes[at - 1] = is_4 ? 0x00 : 0xdd;
    bytes[at] = is_4 ? 0x45 + (n % 7 == 0 ? 1 : 0) : 0x60;
    if (is_4) bytes[at + 6] = 0x40, bytes[at + 7] = 0;
    bytes[at + (is_4 ? 9 : 6)] = is_tcp ? 6 : 17;
}

struct Data {
    const char* map;
    std::span<std::byte> bytes;
};
#define DATA(name) \
    Data { ".data." #name, std::as_writable_bytes(std::span(name)) }
std::vector<Data> make_data() {
    for (u32& number : numbers) number = random_number();
    for (u32 i = 0; i < sizeof(text_a); ++i)
        text_a[i] = text_b[i] = text_c[i] = static_cast<u8>(1 + random_number() % 255);
    text_c[sizeof(text_c) / 2] ^= 1;
    text_a[sizeof(text_a) - 1] = text_b[sizeof(text_b) - 1] = 0;
    for (u8& byte : source) byte = static_cast<u8>(random_number());
    for (u32 n = 0; n < std::size(packets); ++n) make_packet(packets[n], n);
    return {DATA(numbers),
            DATA(text_a),
            DATA(text_b),
            DATA(text_c),
            DATA(source),
            DATA(target),
            {".data.packets", {reinterpret_cast<std::byte*>(packets), sizeof(packets)}}};
}

// -------------------------------------------------------------------------------------------------------------- sides

using Repeated = std::function<u32(u32 repeat)>;  // runs so often; what the last run returned

// The same C as an engine: what is bound is a function.
constexpr engine::AnyEngine native_row = {
    .name = "native", .bind = nullptr, .run = [](const void* executable, abi::Run& run, u64) {
        return static_cast<u64>(reinterpret_cast<Native>(const_cast<void*>(executable))(run.context));
    }};

// Programs and maps of a root, and runners of every engine over it.
class User {
  public:
    User(const std::string& object, std::span<const Data> data) {
        load_ns = ns_of([&] { object_ = must(embed::Object::load_file(machine_, object)); });
        for (const Data& each : data) std::ranges::copy(each.bytes, object_->map(each.map)->values().begin());
        const embed::Map& hash = *object_->map("hash");
        for (u32 key = 0; key < map_entries; ++key) must(hash.put(key, u64{0}));
        hash_ = must(kernel_->root().map_object(kernel_->owns(hash.fd())->id));
    }
    ~User() {
        object_.reset();
        std::filesystem::remove_all(root_);
    }
    Repeated runs(Side side, const Case& which) {
        const auto bound = side == native ? native_program(which) : must(runners_[side]->bind(program(which.name)));
        return [this, side, bound](u32 repeat) {
            const kernel::Runner::Cpu cpu(*runners_[side]);
            kernel::Runner::Series series(*runners_[side], *bound, cpu);
            u64 result = 0;
            for (u32 i = 0; i < repeat; ++i) result = series.run({.context = context_.data(), .packet = {}});
            return static_cast<u32>(result);
        };
    }
    kernel::ProgramObject program(const std::string& name) { return program(*object_->program("bench_" + name)); }
    kernel::ProgramObject program(const embed::Program& loaded) {
        return must(kernel_->root().open_program(kernel_->owns(loaded.fd())->id));
    }
    double bind_ns(Side side, const kernel::ProgramObject& object) {
        std::shared_ptr<const kernel::BoundProgram> bound;
        return ns_of([&] { bound = must(runners_[side]->bind(object)); });
    }
    const embed::Machine& machine() const { return machine_; }
    maps::Map& hash() const { return *hash_.map; }
    double load_ns = 0;

  private:
    static std::shared_ptr<const kernel::BoundProgram> native_program(const Case& which) {
        auto bound = std::make_shared<kernel::BoundProgram>();
        bound->executable = {std::shared_ptr<void>(), reinterpret_cast<const void*>(which.native)};
        return bound;
    }
    std::unique_ptr<kernel::Runner> runner(const engine::AnyEngine& row) {
        return must(kernel::Runner::make(*kernel_, row));
    }
    std::string root_ = "/dev/shm/anybpf-bench-" + std::to_string(::getpid());
    embed::Machine machine_ = must(embed::Machine::open({.root = root_}));
    std::unique_ptr<kernel::Kernel> kernel_ = must(kernel::Kernel::open(root_));
    std::array<std::unique_ptr<kernel::Runner>, kernel> runners_ = {
        runner(native_row), runner(engine::any<engine::Llvm>), runner(engine::any<engine::Jit>),
        runner(engine::any<engine::Interpreter>)};
    std::optional<embed::Object> object_;
    kernel::MappedMap hash_;
    std::array<u32, 48> context_{};
};
maps::Map* hash_map;

// The machine's own BPF.
class Machines {
  public:
    Machines(const std::string& object, std::span<const Data> data) {
        ::libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
        object_ = ::bpf_object__open(object.c_str());
        if (object_ == nullptr) give_up("libbpf cannot open " + object);
        int error = 0;
        load_ns = ns_of([&] { error = ::bpf_object__load(object_); });
        if (error != 0) {
            missing = fmt::format("bpf(2) says: {}", std::strerror(-error));
            return;
        }
        const u32 zero = 0;
        for (const Data& each : data)
            ::bpf_map_update_elem(::bpf_object__find_map_fd_by_name(object_, each.map), &zero, each.bytes.data(), 0);
        for (u32 key = 0; key < map_entries; ++key) {
            const u64 value = 0;
            ::bpf_map_update_elem(::bpf_object__find_map_fd_by_name(object_, "hash"), &key, &value, 0);
        }
    }
    ~Machines() { ::bpf_object__close(object_); }
    const bpf_program* program(const Case& which) const {
        return ::bpf_object__find_program_by_name(object_, ("bench_" + which.name).c_str());
    }
    Repeated runs(const Case& which) const {
        return [fd = ::bpf_program__fd(program(which))](u32 repeat) {
            std::array<u8, 64> packet{};
            bpf_test_run_opts options{};
            options.sz = sizeof(options);
            options.data_in = packet.data();
            options.data_size_in = packet.size();
            options.repeat = static_cast<int>(repeat);
            if (::bpf_prog_test_run_opts(fd, &options) != 0) give_up("BPF_PROG_TEST_RUN fails");
            return options.retval;
        };
    }
    std::string missing;  // why there is none
    double load_ns = 0;

  private:
    bpf_object* object_ = nullptr;
};

// -------------------------------------------------------------------------------------------------------- measurements

struct Row {
    Case which;
    std::array<std::optional<double>, sides> ns;
    std::optional<double> libc;
    double ratio(Side a, Side b) const { return *ns[a] / *ns[b]; }
};

u32 repeats(const Repeated& runs) {
    u32 repeat = 1;
    for (;;) {
        const double took = ns_of([&] { runs(repeat); });
        if (took > round_ns / 2 || repeat > 100'000'000) return repeat;
        repeat = std::max(repeat * 2, static_cast<u32>(repeat * std::min(100.0, round_ns / took)));
    }
}

Row measure(Case which, User& user, const Machines& machines) {
    std::vector<std::pair<Side, Repeated>> engines;
    for (const Side side : {native, llvm, jit, interp}) engines.emplace_back(side, user.runs(side, which));
    if (machines.missing.empty()) engines.emplace_back(kernel, machines.runs(which));
    const u32 expected = static_cast<u32>(which.native(nullptr));
    std::array<u32, sides> repeat{};
    for (const auto& [side, runs] : engines) {
        if (const u32 result = runs(1); result != expected)
            give_up(fmt::format("{}: {} returns {}, native code {}", which.name, side_names[side], result, expected));
        repeat[side] = repeats(runs);
    }
    std::array<std::vector<double>, sides> figures;
    std::vector<double> libc;
    for (int round = 0; round < rounds; ++round) {
        for (const auto& [side, runs] : engines)
            figures[side].push_back(ns_of([&] { runs(repeat[side]); }) / repeat[side]);
        if (which.name == "memcpy") libc.push_back(ns_of([] { std::memcpy(target, source, sizeof(target)); }));
        if (which.name == "memset") libc.push_back(ns_of([] { std::memset(target, 0x5a, sizeof(target)); }));
    }
    Row row{.which = std::move(which), .ns = {}, .libc = {}};
    for (const auto& [side, runs] : engines) row.ns[side] = median(figures[side]);
    if (!libc.empty()) row.libc = median(libc);
    return row;
}

template <class Value>
double geometric_mean(const std::vector<Row>& rows, Value&& value) {
    double sum = 0, count = 0;
    for (const Row& row : rows)
        if (const std::optional<double> each = value(row)) {
            sum += std::log(*each);
            ++count;
        }
    return std::exp(sum / count);
}

// What a program of that many instructions costs to bind: arithmetic, memory, branches.
std::vector<isa::Insn> straight_program(u32 insns) {
    std::string text = "r6 = r1\nr0 = 1\n*(u64 *)(r10 - 8) = r0\n";
    for (u32 i = 0; i + 4 < insns / 10; ++i)
        text += fmt::format(
            "r2 = *(u64 *)(r10 - 8)\nr3 = r2\nr3 <<= 3\nr2 += r3\nw2 ^= {}\nif r2 > {} goto L{}\nr0 += r2\nL{}: *(u64 "
            "*)(r10 - 8) "
            "= r2\nr4 = *(u32 *)(r6 + 0)\nr0 ^= r4\n",
            i * 77, i * 1000, i, i);
    for (u32 i = 0; i < 36; ++i) text += "r0 += r2\n";
    return *isa::assemble(text + "r0 = 1\nexit");
}

struct Compilation {
    std::array<double, kernel> thousand_ns{};              // 1,000 instructions
    std::array<double, kernel> each_ns{};                  // of the programs above, per instruction
    double clang_ns = 0, kernel_load_ns = 0, load_ns = 0;  // per instruction; loads with verification
};

Compilation compile(const std::vector<Row>& rows, User& user, const Machines& machines,
                    const std::string& source_file) {
    Compilation out;
    const auto insns = straight_program(1000);
    const auto loaded = must(user.machine().load({.name = "thousand", .insns = insns}));
    const auto thousand = user.program(loaded);
    u32 total = 0;
    for (const Row& row : rows) total += row.which.insns;
    for (const Side side : {llvm, jit, interp}) {
        std::vector<double> figures, each;
        for (int round = 0; round < rounds; ++round) {
            figures.push_back(user.bind_ns(side, thousand));
            double sum = 0;
            for (const Row& row : rows) sum += user.bind_ns(side, user.program(row.which.name));
            each.push_back(sum);
        }
        out.thousand_ns[side] = median(figures);
        out.each_ns[side] = median(each) / total;
    }
    const std::string command = fmt::format("clang-19 -O2 -c {} -o /dev/null", source_file);
    std::vector<double> figures;
    for (int round = 0; round < 3; ++round)
        figures.push_back(ns_of(
            [&] {
                if (std::system(command.c_str()) != 0) give_up(command + " fails");
            },
            CLOCK_MONOTONIC));
    out.clang_ns = median(figures) / total;
    out.kernel_load_ns = machines.load_ns / total;
    out.load_ns = user.load_ns / total;
    return out;
}

// -------------------------------------------------------------------------------------------------------------- report

std::string time(std::optional<double> ns) {
    if (!ns) return "";
    return *ns < 1000  ? fmt::format("{:.3g} ns", *ns)
           : *ns < 1e6 ? fmt::format("{:.3g} us", *ns / 1e3)
                       : fmt::format("{:.3g} ms", *ns / 1e6);
}

struct Target {
    std::string what;
    double limit, reached;
    std::string missed_by;  // the programs that are behind, where each must be ahead
    bool met() const { return reached <= limit && missed_by.empty(); }
};

std::vector<Target> targets(const std::vector<Row>& rows, const Compilation& compilation, bool with_kernel) {
    std::vector<Target> all;
    const auto mean = [&](std::string what, double limit, auto&& value) {
        all.push_back({std::move(what), limit, geometric_mean(rows, value), ""});
    };
    const auto each = [&](std::string what, double limit, auto&& value) {
        Target target{std::move(what), limit, 0, ""};
        for (const Row& row : rows)
            if (const std::optional<double> ratio = value(row)) {
                target.reached = std::max(target.reached, *ratio);
                if (*ratio > limit)
                    target.missed_by +=
                        fmt::format("{}{} {:.2f}", target.missed_by.empty() ? "" : ", ", row.which.name, *ratio);
            }
        all.push_back(std::move(target));
    };
    const auto of = [](Side a, Side b) { return [a, b](const Row& row) { return std::optional(row.ratio(a, b)); }; };
    mean("LLVM beside native, geometric mean", 1.1, of(llvm, native));
    if (with_kernel) each("LLVM beside the kernel's JIT, each program", tolerance, of(llvm, kernel));
    if (with_kernel) each("JIT beside the kernel's, each program", tolerance, of(jit, kernel));
    mean("JIT beside native, geometric mean without memcpy and memset", 1.5, [](const Row& row) {
        return is_byte_loop(row.which.name) ? std::nullopt : std::optional(row.ratio(jit, native));
    });
    mean("interpreter beside the JIT, geometric mean", 15, of(interp, jit));
    each("LLVM beside libc's memcpy and memset", 1.5,
         [](const Row& row) { return row.libc ? std::optional(*row.ns[llvm] / *row.libc) : std::nullopt; });
    all.push_back({"JIT, 1,000 instructions, us", 100, compilation.thousand_ns[jit] / 1e3, ""});
    all.push_back({"LLVM, 1,000 instructions, ms", 30, compilation.thousand_ns[llvm] / 1e6, ""});
    return all;
}

void print_table(const std::vector<Row>& rows, const Compilation& compilation, const std::vector<Target>& all,
                 const std::string& missing) {
    utsname machine{};
    ::uname(&machine);
    fmt::print(
        "Linux {}, {} CPUs, median of {} rounds, `make bench`. CPU time of one run; in brackets beside native "
        "code.\n\n",
        machine.release, ::sysconf(_SC_NPROCESSORS_ONLN), rounds);
    if (!missing.empty()) fmt::print("Without the kernel's JIT: {}.\n\n", missing);
    fmt::print(
        "| program | native | LLVM | JIT | interpreter | kernel's JIT | JIT beside the kernel's "
        "|\n|---|---|---|---|---|---|---|\n");
    for (const Row& row : rows) {
        fmt::print("| {} | {} |", row.which.name, time(row.ns[native]));
        for (const Side side : {llvm, jit, interp, kernel})
            if (row.ns[side])
                fmt::print(" {} ({:.2f}) |", time(row.ns[side]), row.ratio(side, native));
            else
                fmt::print(" |");
        fmt::print(" {} |\n", row.ns[kernel] ? fmt::format("{:.2f}", row.ratio(jit, kernel)) : "");
    }
    fmt::print("| geometric mean | |");
    const auto mean = [&](Side a, Side b) {
        return geometric_mean(rows, [&](const Row& row) { return std::optional(row.ratio(a, b)); });
    };
    for (const Side side : {llvm, jit, interp}) fmt::print(" {:.2f} |", mean(side, native));
    if (missing.empty())
        fmt::print(" {:.2f} | {:.2f} |\n", mean(kernel, native), mean(jit, kernel));
    else
        fmt::print(" | |\n");

    fmt::print("\n| compilation | 1,000 instructions | per instruction of these programs |\n|---|---|---|\n");
    for (const Side side : {interp, jit, llvm})
        fmt::print("| {} | {} | {} |\n", side_names[side], time(compilation.thousand_ns[side]),
                   time(compilation.each_ns[side]));
    fmt::print("| JIT, with loading and verification | | {} |\n", time(compilation.load_ns));
    if (missing.empty())
        fmt::print("| kernel's JIT, with loading and verification | | {} |\n", time(compilation.kernel_load_ns));
    fmt::print("| native: clang -O2, the whole command | | {} |\n", time(compilation.clang_ns));

    fmt::print("\n| target | at most | reached | |\n|---|---|---|---|\n");
    for (const Target& target : all)
        fmt::print("| {} | {} | {:.2f} | {} |\n", target.what, target.limit, target.reached,
                   target.met()               ? "met"
                   : target.missed_by.empty() ? "missed"
                                              : "missed: " + target.missed_by);
}

void print_json(const std::vector<Row>& rows, const Compilation& compilation, const std::vector<Target>& all,
                const std::string& missing) {
    nlohmann::ordered_json out;
    for (const Row& row : rows) {
        auto& entry = out["programs"][row.which.name];
        for (u32 side = 0; side < sides; ++side)
            if (row.ns[side]) entry[std::string(side_names[side]) + "_ns"] = *row.ns[side];
        if (row.libc) entry["libc_ns"] = *row.libc;
        entry["insns"] = row.which.insns;
    }
    for (const Side side : {llvm, jit, interp})
        out["compilation"][std::string(side_names[side])] = {{"thousand_ns", compilation.thousand_ns[side]},
                                                             {"insn_ns", compilation.each_ns[side]}};
    for (const Target& target : all)
        out["targets"].push_back(
            {{"what", target.what}, {"limit", target.limit}, {"reached", target.reached}, {"met", target.met()}});
    if (!missing.empty()) out["kernel_missing"] = missing;
    fmt::print("{}\n", out.dump(2));
}

}  // namespace

u64* native_hash_lookup(const u32* key) { return static_cast<u64*>(hash_map->lookup(key, 0)); }

int main(int argc, char** argv) {
    const bool json = argc > 1 && std::string_view(argv[1]) == "--json";
    const std::string only = argc > 1 && !json ? argv[1] : "";
    const std::string folder = std::filesystem::canonical("/proc/self/exe").parent_path();
    const auto data = make_data();
    User user(folder + "/programs.bpf.o", data);
    hash_map = &user.hash();
    const Machines machines(folder + "/programs.bpf.o", data);
    std::vector<Row> rows;
    for (Case& which : cases()) {
        if (!only.empty() && which.name != only) continue;
        which.insns = static_cast<u32>(::bpf_program__insn_cnt(machines.program(which)));
        rows.push_back(measure(which, user, machines));
    }
    const Compilation compilation = compile(rows, user, machines, ANYBPF_BENCH_SOURCE);
    const auto all = targets(rows, compilation, machines.missing.empty());
    (json ? print_json : print_table)(rows, compilation, all, machines.missing);
    return 0;
}
