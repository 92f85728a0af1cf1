// SPDX-License-Identifier: Apache-2.0
// Raw because bpf(2) has no wrapper in libc and takes addresses as numbers. Every buffer named in an attribute outlives
// the call that uses it, and its size is passed with it.
#include <linux/bpf.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "anybpf/base/fd.hpp"
#include "live_kernel.hpp"

namespace anybpf::corpus {
namespace {

u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }

int bpf(bpf_cmd command, bpf_attr& attr) { return static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof(attr))); }

Result<Fd> load(std::span<const isa::Insn> insns, std::string& log) {
    static constexpr char license[] = "GPL";
    log.assign(1U << 20, '\0');
    bpf_attr attr{};
    attr.prog_type = BPF_PROG_TYPE_SYSCALL;
    attr.prog_flags = BPF_F_SLEEPABLE;
    attr.insns = address(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = address(license);
    attr.log_level = 2;
    attr.log_buf = address(log.data());
    attr.log_size = static_cast<u32>(log.size());
    int fd = bpf(BPF_PROG_LOAD, attr);
    if (fd < 0 && errno == ENOSPC) {  // only the log did not fit
        attr.log_level = 0;
        attr.log_buf = 0;
        attr.log_size = 0;
        fd = bpf(BPF_PROG_LOAD, attr);
    }
    const int error = errno;
    log.resize(std::strlen(log.c_str()));
    if (fd < 0) return fail(Errc::rejected, log.empty() ? std::strerror(error) : log, error);
    return Fd(fd);
}

std::vector<isa::Insn> wrap(std::span<const isa::Insn> insns, u32 length, i16 result_at) {
    std::vector<isa::Insn> all = {
        {.code = 0x7b, .dst = 10, .src = 1, .off = -8, .imm = 0},                       // *(u64 *)(r10 - 8) = r1
        {.code = 0xb7, .dst = 2, .src = 0, .off = 0, .imm = static_cast<i32>(length)},  // r2 = length
        {.code = 0xbf, .dst = 1, .src = 1, .off = 0, .imm = 0},                         // r1 = r1
        {.code = 0x85, .dst = 0, .src = 1, .off = 0, .imm = 4},                         // call the program
        {.code = 0x79, .dst = 1, .src = 10, .off = -8, .imm = 0},                       // r1 = *(u64 *)(r10 - 8)
        {.code = 0x7b, .dst = 1, .src = 0, .off = result_at, .imm = 0},                 // *(u64 *)(r1 + result_at) = r0
        {.code = 0xb7, .dst = 0, .src = 0, .off = 0, .imm = 0},                         // r0 = 0
        {.code = 0x95, .dst = 0, .src = 0, .off = 0, .imm = 0},                         // exit
    };
    if (length == 0) all[2] = {.code = 0xb7, .dst = 1, .src = 0, .off = 0, .imm = 0};  // r1 = 0
    all.insert(all.end(), insns.begin(), insns.end());
    return all;
}

}  // namespace

std::optional<std::string> kernel_unavailable() {
    static const std::optional<std::string> reason = []() -> std::optional<std::string> {
        const std::array<isa::Insn, 2> nothing = {isa::Insn{.code = 0xb7}, isa::Insn{.code = 0x95}};
        std::string log;
        const auto loaded = load(nothing, log);
        if (!loaded) return "bpf(2) does not load programs here: " + loaded.error().message;
        return {};
    }();
    return reason;
}

Result<KernelAnswer> run_in_kernel(std::span<const isa::Insn> insns, std::span<const std::byte> memory) {
    const std::size_t result_at = (memory.size() + 7) / 8 * 8;
    const auto all = wrap(insns, static_cast<u32>(memory.size()), static_cast<i16>(result_at));
    KernelAnswer answer;
    const Fd program = ANYBPF_TRY(load(all, answer.log));
    std::vector<std::byte> context(result_at + sizeof(u64));
    std::copy(memory.begin(), memory.end(), context.begin());
    bpf_attr attr{};
    attr.test.prog_fd = static_cast<u32>(program.get());
    attr.test.ctx_in = address(context.data());
    attr.test.ctx_size_in = static_cast<u32>(context.size());
    if (bpf(BPF_PROG_TEST_RUN, attr) != 0) return fail_errno("run in the kernel");
    std::memcpy(&answer.result, context.data() + result_at, sizeof(u64));
    return answer;
}

int attach_classic(std::span<const isa::ClassicInsn> insns) {
    static_assert(sizeof(isa::ClassicInsn) == sizeof(sock_filter));
    const Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    std::vector<sock_filter> copy(insns.size());
    if (!copy.empty()) std::memcpy(copy.data(), insns.data(), insns.size_bytes());
    const sock_fprog program{static_cast<u16>(copy.size()), copy.data()};
    return setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 ? 0 : errno;
}

}  // namespace anybpf::corpus
