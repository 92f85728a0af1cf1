// SPDX-License-Identifier: Apache-2.0
// toggle ROOT FILE PID THREADS ROUNDS: attaches and detaches a program that counts getppid(2), while the threads of
// `callers` (process PID, counters in FILE) make such calls. In every other round map and program are new as well. What
// must hold in each round, where a thread may be inside a call at each look at its counter:
//     made while it was attached - CALLERS <= counted <= made from before to after + CALLERS
// with the threads and a child for callers; what the last word of FILE counts may or may not have been seen.
// Prints the process's memory and mappings a hundred times: ROUND RSS_KIB MAPPINGS. Exit status 1: a count was wrong.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <thread>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/abi/uapi.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "anybpf/maps/vcpu.hpp"

namespace anybpf {
namespace {

namespace uapi = abi::uapi;

u64 address_of(const void* pointer) { return std::bit_cast<u64>(pointer); }

[[noreturn]] void die(const std::string& text) {
    fmt::print(stderr, "toggle: {}\n", text);
    std::exit(2);
}

class Tracer {
  public:
    explicit Tracer(const char* root) {
        auto opened = kernel::Kernel::open(root);
        if (!opened) die(opened.error().message);
        kernel_ = std::move(*opened);
        kernel_->set_compiler(engine::Jit::compile_bytes);
    }
    struct Counter {
        Fd map, program;
    };
    Counter counter() {
        uapi::MapCreate create{};
        create.map_type = static_cast<u32>(abi::MapType::percpu_array);
        create.key_size = 4;
        create.value_size = 8;
        create.max_entries = 1;
        Fd map = checked(bpf(uapi::Command::map_create, create), "a map");
        const auto insns = isa::assemble(fmt::format(R"(
            *(u32 *)(r10 - 4) = 0
            r2 = r10
            r2 += -4
            r1 = map[fd:{}] ll
            call 1
            if r0 == 0 goto out
            r1 = *(u64 *)(r0 + 0)
            r1 += 1
            *(u64 *)(r0 + 0) = r1
          out:
            r0 = 0
            exit
        )",
                                                     map.get()));
        if (!insns) die(insns.error().message);
        uapi::ProgLoad load{};
        load.prog_type = static_cast<u32>(abi::ProgType::tracepoint);
        load.insn_cnt = static_cast<u32>(insns->size());
        load.insns = address_of(insns->data());
        load.license = address_of("GPL");
        Fd program = checked(bpf(uapi::Command::prog_load, load), "a program");
        return {std::move(map), std::move(program)};
    }
    struct Link {
        Fd event, link;
    };
    Link attach(const Fd& program) {
        constexpr u32 nr_getppid = 110;
        uapi::PerfEventAttr attr{};
        attr.type = uapi::perf_type_tracepoint;
        attr.size = sizeof attr;
        attr.config = abi::sys_enter_of(nr_getppid).v;
        attr.sample_period = 1;
        Fd event = checked(kernel_->perf_event_open(&attr, -1, 0, -1, uapi::perf_flag_fd_cloexec), "an event");
        uapi::LinkCreate create{};
        create.prog_fd = static_cast<u32>(program.get());
        create.target_fd = static_cast<u32>(event.get());
        create.attach_type = static_cast<u32>(abi::AttachType::perf_event);
        Fd link = checked(bpf(uapi::Command::link_create, create), "a link");
        if (kernel_->ioctl(event.get(), uapi::perf_ioc_enable, 0) != 0) die("the event cannot be enabled");
        return {std::move(event), std::move(link)};
    }
    void close(Fd fd) {
        const auto object = kernel_->owns(fd.get());
        fd = Fd();
        if (object) kernel_->closed(*object);
    }
    void close(Link link) {
        close(std::move(link.link));
        close(std::move(link.event));
    }
    void close(Counter counter) {
        close(std::move(counter.program));
        close(std::move(counter.map));
    }
    u64 counted(const Counter& counter) {
        const u32 key = 0;
        std::array<u64, maps::VcpuTable::default_slots> values{};
        uapi::MapElement element{};
        element.map_fd = static_cast<u32>(counter.map.get());
        element.key = address_of(&key);
        element.value = address_of(values.data());
        if (bpf(uapi::Command::map_lookup_elem, element) != 0) die("the map cannot be read");
        return std::accumulate(values.begin(), values.end(), u64{0});
    }

  private:
    template <class Attr>
    i64 bpf(uapi::Command command, const Attr& attr) {
        Attr copy = attr;
        return kernel_->bpf(static_cast<int>(command), &copy, sizeof copy);
    }
    static Fd checked(i64 fd, const char* what) {
        if (fd < 0) die(fmt::format("{}: error {}", what, -fd));
        return Fd(static_cast<int>(fd));
    }
    std::unique_ptr<kernel::Kernel> kernel_;
};

class Callers {
  public:
    Callers(const char* file, u32 threads) : threads_(threads) {
        const int fd = ::open(file, O_RDONLY | O_CLOEXEC);
        void* const memory = ::mmap(nullptr, (threads + 3) * 64UL, PROT_READ, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) die(fmt::format("{} cannot be mapped", file));
        ::close(fd);
        words_ = static_cast<const std::atomic<u64>*>(memory);
    }
    u64 made() const {
        u64 sum = 0;
        for (u32 i = 1; i <= threads_ + 1; ++i) sum += words_[i * 8].load(std::memory_order_acquire);
        return sum;
    }
    u64 made_at_most() const { return made() + words_[(threads_ + 2) * 8].load(std::memory_order_acquire); }

  private:
    u32 threads_;
    const std::atomic<u64>* words_ = nullptr;
};

void print_memory(u32 round, const std::string& pid) {
    u32 mappings = 0;
    u64 rss = 0;
    std::ifstream maps("/proc/" + pid + "/maps"), status("/proc/" + pid + "/status");
    for (std::string line; std::getline(maps, line);) ++mappings;
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmRSS:")) rss = std::strtoull(line.c_str() + 6, nullptr, 10);
    fmt::print("{} {} {}\n", round, rss, mappings);
    std::fflush(stdout);
}

int toggle(const char* root, const char* file, const std::string& pid, u32 threads, u32 rounds) {
    Tracer tracer(root);
    const Callers callers(file, threads);
    constexpr u64 window = 2000;  // calls, where the link stays for a while
    auto kept = tracer.counter();
    u32 wrong = 0;
    for (u32 round = 1; round <= rounds; ++round) {
        auto counter = round % 2 == 0 ? tracer.counter() : std::move(kept);
        const u64 known = tracer.counted(counter);
        const u64 before = callers.made_at_most();
        auto link = tracer.attach(counter.program);
        const u64 attached = callers.made();
        while (round % 4 < 2 && callers.made() - attached < window) std::this_thread::yield();
        const u64 last = callers.made();
        tracer.close(std::move(link));
        const u64 counted = tracer.counted(counter) - known;
        const u64 after = callers.made_at_most();
        if (counted + threads + 1 < last - attached || counted > after - before + threads + 1) {
            ++wrong;
            fmt::print(stderr, "round {}: {} counted; {} made while attached, {} around it\n", round, counted,
                       last - attached, after - before);
        }
        if (round % 2 == 0)
            tracer.close(std::move(counter));
        else
            kept = std::move(counter);
        if (round % std::max(rounds / 100, 1U) == 0) print_memory(round, pid);
    }
    return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace anybpf

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    return anybpf::toggle(argv[1], argv[2], argv[3], static_cast<unsigned>(std::atoi(argv[4])),
                          static_cast<unsigned>(std::atoi(argv[5])));
}
