// SPDX-License-Identifier: Apache-2.0
// anybpf run: one program, one command, and everything that the program reports, in the order in which it comes.
#include "run.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <span>

#include "anybpf/abi/trace.hpp"
#include "anybpf/base/bytes.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "attached.hpp"
#include "child.hpp"
#include "compile.hpp"
#include "loader.hpp"
#include "machine.hpp"
#include "report.hpp"
#include "sweeper.hpp"

namespace anybpf::cli {

namespace {

void warn(const std::string& text) { fmt::print(stderr, "anybpf: warning: {}\n", text); }

struct CloseLink {
    void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, CloseLink>;

// The buffers of an object and what of them goes to the report.
class Streams {
  public:
    explicit Streams(Report& report) : report_(report) {}
    Outcome<> open(const Loaded& loaded, const Machine& machine);
    // Everything that lies there.
    void consume();
    // Descriptors that become readable when there may be more.
    const std::vector<int>& descriptors() const { return descriptors_; }

  private:
    struct Source {
        Report& report;
        std::string map;
        int fd;
    };
    static int on_ring_record(void* source, void* data, std::size_t size) {
        const auto& from = *static_cast<Source*>(source);
        from.report.event(from.map, Bytes(static_cast<const std::byte*>(data), size), false);
        return 0;
    }
    static void on_perf_record(void* source, int, void* data, u32 size) {
        const auto& from = *static_cast<Source*>(source);
        from.report.event(from.map, Bytes(static_cast<const std::byte*>(data), size), true);
    }
    static void on_lost(void* source, int, unsigned long long count) {
        const auto& from = *static_cast<Source*>(source);
        from.report.lost(from.map, count);
    }
    static int on_trace_record(void* report, void* data, std::size_t size);
    void read_trace_pipe();
    void read_notices();

    Report& report_;
    kernel::Kernel* kernel_ = nullptr;  // ours; null where the machine's own is asked
    std::vector<std::unique_ptr<Source>> sources_;
    std::vector<int> descriptors_;
    std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> rings_{nullptr, ring_buffer__free};
    std::vector<std::unique_ptr<perf_buffer, decltype(&perf_buffer__free)>> perfs_;
    Fd trace_, trace_pipe_;  // ours, the kernel's
    std::string trace_rest_;
    Fd notices_;
    std::string notices_rest_;
};

Outcome<> Streams::open(const Loaded& loaded, const Machine& machine) {
    kernel_ = machine.kernel();
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded.object()) {
        const auto type = bpf_map__type(map);
        if (type != BPF_MAP_TYPE_RINGBUF && type != BPF_MAP_TYPE_PERF_EVENT_ARRAY) continue;
        sources_.push_back(std::make_unique<Source>(Source{report_, bpf_map__name(map), bpf_map__fd(map)}));
        Source* source = sources_.back().get();
        bool good = true;
        if (type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
            perfs_.emplace_back(perf_buffer__new(source->fd, 64, on_perf_record, on_lost, source, nullptr),
                                perf_buffer__free);
            good = perfs_.back() != nullptr;
            for (std::size_t i = 0; good && i < perf_buffer__buffer_cnt(perfs_.back().get()); ++i)
                descriptors_.push_back(perf_buffer__buffer_fd(perfs_.back().get(), i));
        } else if (descriptors_.push_back(source->fd); rings_) {
            good = ring_buffer__add(rings_.get(), source->fd, on_ring_record, source) == 0;
        } else {
            rings_.reset(ring_buffer__new(source->fd, on_ring_record, source, nullptr));
            good = rings_ != nullptr;
        }
        if (!good)
            return stop(Exit::failed,
                        fmt::format("the buffer '{}' cannot be read: {}", source->map, std::strerror(errno)));
    }
    notices_ = machine.notices();
    trace_ = machine.trace();
    if (trace_.valid()) {
        const bool good = rings_ ? ring_buffer__add(rings_.get(), trace_.get(), on_trace_record, &report_) == 0
                                 : (rings_.reset(ring_buffer__new(trace_.get(), on_trace_record, &report_, nullptr)),
                                    rings_ != nullptr);
        if (!good) return stop(Exit::failed, fmt::format("the trace buffer cannot be read: {}", std::strerror(errno)));
        descriptors_.push_back(trace_.get());
    } else {
        for (const char* folder : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
            trace_pipe_ = Fd(::open(fmt::format("{}/trace_pipe", folder).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
            if (trace_pipe_.valid()) break;
        }
    }
    return {};
}

void Streams::consume() {
    // A record that a writer was killed in stands in the way of those behind it.
    for (const int fd : descriptors_)
        if (kernel_ != nullptr) (void)kernel_->readable(fd);
    if (rings_) ring_buffer__consume(rings_.get());
    for (const auto& perf : perfs_) perf_buffer__consume(perf.get());
    if (trace_pipe_.valid()) read_trace_pipe();
    if (notices_.valid()) read_notices();
    report_.flush();
}

// Lines of an agent: "PID<tab>REASON<tab>PATH".
void Streams::read_notices() {
    std::array<char, 4096> part;
    for (ssize_t got; (got = ::read(notices_.get(), part.data(), part.size())) > 0;)
        notices_rest_.append(part.data(), static_cast<std::size_t>(got));
    for (std::size_t end; (end = notices_rest_.find('\n')) != std::string::npos; notices_rest_.erase(0, end + 1)) {
        const std::string_view line = std::string_view(notices_rest_).substr(0, end);
        const auto first = line.find('\t'), second = line.find('\t', first + 1);
        if (second == line.npos) continue;
        warn(fmt::format("{} (process {}) is not traced: {}", line.substr(second + 1), line.substr(0, first),
                         line.substr(first + 1, second - first - 1)));
    }
}

int Streams::on_trace_record(void* report, void* data, std::size_t size) {
    ByteReader reader(Bytes(static_cast<const std::byte*>(data), size));
    const auto record = reader.take<abi::TraceRecord>();
    if (!record) return 0;
    const auto text = reader.take_bytes(std::min<std::size_t>(record->length, reader.remaining()));
    std::string_view line(static_cast<const char*>(static_cast<const void*>(text->data())), text->size());
    if (line.ends_with('\n')) line.remove_suffix(1);
    const std::string comm(record->comm.data(), ::strnlen(record->comm.data(), record->comm.size()));
    static_cast<Report*>(report)->printk(comm, record->tid, line);
    return 0;
}

// Lines as trace_pipe has them: "   comm-PID   [CPU] FLAGS TIME: bpf_trace_printk: TEXT".
void Streams::read_trace_pipe() {
    std::array<char, 8192> part;
    for (ssize_t got; (got = ::read(trace_pipe_.get(), part.data(), part.size())) > 0;)
        trace_rest_.append(part.data(), static_cast<std::size_t>(got));
    constexpr std::string_view mark = ": bpf_trace_printk: ";
    for (std::size_t end; (end = trace_rest_.find('\n')) != std::string::npos; trace_rest_.erase(0, end + 1)) {
        const std::string_view line = std::string_view(trace_rest_).substr(0, end);
        const auto text = line.find(mark), bracket = line.find(" [");
        if (text == line.npos || bracket > text) continue;
        std::string_view who = line.substr(0, bracket);
        who.remove_prefix(std::min(who.find_first_not_of(' '), who.size()));
        who = who.substr(0, who.find_last_not_of(' ') + 1);
        const auto dash = who.rfind('-');
        report_.printk(who.substr(0, dash),
                       dash == who.npos
                           ? 0
                           : static_cast<u32>(std::strtoul(std::string(who.substr(dash + 1)).c_str(), nullptr, 10)),
                       line.substr(text + mark.size()));
    }
}

Outcome<std::vector<Link>> attach(const Loaded& loaded, const ObjectFile& file, const LibbpfLog& log) {
    std::vector<Link> links;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded.object()) {
        if (!bpf_program__autoload(program)) continue;
        links.emplace_back(bpf_program__attach(program));
        if (links.back()) continue;
        const int error = errno;
        links.pop_back();
        if (error == EOPNOTSUPP) continue;  // a section without a target: for tail calls
        const Exit exit = error == ENOENT                     ? Exit::no_attach_point
                          : error == EPERM || error == EACCES ? Exit::not_permitted
                                                              : Exit::failed;
        return stop(exit, fmt::format("{}: program '{}' cannot be attached to '{}': {} ({})", file.path(),
                                      bpf_program__name(program), bpf_program__section_name(program),
                                      std::strerror(error), log.last_complaint()));
    }
    if (links.empty())
        return stop(Exit::unknown_section,
                    fmt::format("{}: no program in it names an attach point in its section", file.path()));
    return links;
}

// Signals as a descriptor while this lives. SIGPIPE is ignored: a reader that went away is noticed by the report.
class Signals {
  public:
    Signals() {
        ::sigemptyset(&mask_);
        for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&mask_, number);
        ::sigprocmask(SIG_BLOCK, &mask_, &before_);
        ::signal(SIGPIPE, SIG_IGN);
        fd_ = Fd(::signalfd(-1, &mask_, SFD_NONBLOCK | SFD_CLOEXEC));
    }
    ~Signals() {
        while (next()) {
        }  // the Ctrl-C that ended the command is ours, too, and has been answered by ending
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    int fd() const { return fd_.get(); }
    std::optional<signalfd_siginfo> next() const {
        signalfd_siginfo info;
        if (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return {};
        return info;
    }

  private:
    sigset_t mask_{}, before_{};
    Fd fd_;
};

// Until the command has ended, or, without one, the processes that were attached, or until somebody asks to stop. The
// first Ctrl-C is the command's to answer (the terminal sends it to both of us; one sent to us alone is passed on); the
// second kills it.
int follow(Child* child, std::span<const Attached> attached, const Signals& signals, Streams& streams,
           const Report& report, double seconds) {
    const Fd sleep(::epoll_create1(EPOLL_CLOEXEC));
    const auto wait_for = [&](int fd) {
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
        ::epoll_ctl(sleep.get(), EPOLL_CTL_ADD, fd, &event);
    };
    wait_for(signals.fd());
    if (child) wait_for(child->pidfd());
    for (const Attached& each : attached) wait_for(each.pidfd());
    for (const int fd : streams.descriptors()) wait_for(fd);

    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    int asked = 0;
    while (true) {
        std::array<epoll_event, 16> events;
        ::epoll_wait(sleep.get(), events.data(), static_cast<int>(events.size()), 100);
        streams.consume();
        if (child && child->ended()) return child->status();
        if (!child && !attached.empty() && std::ranges::all_of(attached, &Attached::ended)) return 0;
        bool stop = report.broken() && asked == 0;
        if (seconds > 0 && asked == 0 && std::chrono::steady_clock::now() >= end) stop = true;
        int number = stop ? SIGTERM : 0;
        bool ours_alone = stop;
        while (const auto info = signals.next()) {
            stop = true;
            number = static_cast<int>(info->ssi_signo);
            ours_alone = info->ssi_code == SI_USER || number != SIGINT;
        }
        if (!stop) continue;
        ++asked;
        if (!child) return 0;
        if (asked > 1)
            child->signal(SIGKILL);
        else if (ours_alone)
            child->signal(number);
    }
}

bool prints_by_itself(const Loaded& loaded, const Report& report) {
    if (report.printed()) return true;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded.object()) {
        const auto type = bpf_map__type(map);
        if (type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ||
            report.has_map_format(bpf_map__name(map)))
            return true;
    }
    return false;
}

// All maps when asked for, or when the program says nothing else; otherwise those that have a format.
Outcome<> print_maps(const Loaded& loaded, Report& report, bool dump) {
    const bool all = dump || !prints_by_itself(loaded, report);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(
        map, loaded.object()) if (holds_values(map) && (all || report.has_map_format(bpf_map__name(map))))
        CLI_TRY(report.map(map));
    return {};
}

}  // namespace

Outcome<int> run(const RunOptions& options) {
    std::string command;
    if (!options.command.empty()) command = CLI_TRY(find_command(options.command.front()));
    const auto file = CLI_TRY(ObjectFile::of_program(options.program, options.clang));
    if (options.where == Where::kernel && !options.pids.empty())
        return stop(Exit::usage, "--pid brings a process to our own programs: the kernel's see every process");
    CLI_TRY(check_sections(file));
    CLI_TRY(check_attach_points(file, options.where));

    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(
        options.output.empty() ? nullptr : std::fopen(options.output.c_str(), "we"), std::fclose);
    if (!options.output.empty() && !output)
        return stop(Exit::failed, fmt::format("{}: {}", options.output, std::strerror(errno)));

    const Signals signals;  // from here on there is something to take down in good order
    const Sweeper sweeper = Sweeper::start();
    CLI_TRY(Machine::check_runs(options.where));
    auto machine = CLI_TRY(Machine::open(options.where, options.limits));
    if (machine.kernel() != nullptr && options.engine == engine::Jit::name)
        machine.kernel()->set_compiler(engine::Jit::compile_bytes);
    const LibbpfLog log(options.verbose);
    auto loaded = CLI_TRY(open_object(
        file, {.only = {}, .log_level = options.verbose ? 1U : 0U, .verbose = options.verbose, .name = file.name()},
        log));
    if (!command.empty() || !options.pids.empty()) CLI_TRY(machine.supervise());
    CLI_TRY(load_object(loaded, file, log));
    auto report = CLI_TRY(Report::open(file, loaded, output ? output.get() : stdout, options.json));
    Streams streams(report);
    CLI_TRY(streams.open(loaded, machine));
    auto links = CLI_TRY(attach(loaded, file, log));

    std::optional<Child> child;
    if (!command.empty()) {
        const auto environment = CLI_TRY(machine.command_environment());
        const auto before_exec = [&](auto... what) {
            const bool injected = machine.injects();
            if (!injected && options.where == Where::user)
                if (const std::string why = why_not_traced(command); !why.empty())
                    warn(fmt::format("{} is not traced: {}", command, why));
            machine.report_exec(what...);
            return injected;
        };
        child = CLI_TRY(Child::start(command, options.command, environment, before_exec));
    }
    std::vector<Attached> attached;
    for (const pid_t pid : options.pids) attached.push_back(CLI_TRY(machine.attach(pid)));
    if (!child && ::isatty(STDERR_FILENO)) {
        fmt::print(stderr, "anybpf: attached; Ctrl-C ends\n");
    }
    const int status = follow(child ? &*child : nullptr, attached, signals, streams, report, options.duration);
    links.clear();
    attached.clear();
    streams.consume();
    CLI_TRY(print_maps(loaded, report, options.map_dump));
    report.flush();
    return status;
}

}  // namespace anybpf::cli
