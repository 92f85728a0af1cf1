// SPDX-License-Identifier: Apache-2.0
// For tests: the same conversation with our kernel and with the machine's.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "anybpf/abi/uapi.hpp"
#include "anybpf/isa/insn.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "scratch.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using uapi::Command;

inline u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }

class Caller {
  public:
    virtual ~Caller() = default;
    virtual long bpf(Command command, void* attr, unsigned size) = 0;
    virtual long perf_event_open(const void* attr, int pid, int cpu, int group, unsigned long flags) = 0;
    virtual long ioctl(int fd, unsigned long request, unsigned long argument) = 0;

    // A command with its attributes; written back to.
    template <class T>
    long call(Command command, T& attr, unsigned size = sizeof(T)) {
        return bpf(command, &attr, size);
    }
    template <class T>
    long call(Command command, T&& attr) {
        return bpf(command, &attr, sizeof(attr));
    }

    static uapi::MapCreate map_attr(abi::MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
        uapi::MapCreate attr{};
        attr.map_type = static_cast<u32>(type);
        attr.key_size = key;
        attr.value_size = value;
        attr.max_entries = entries;
        attr.map_flags = flags;
        return attr;
    }
    long map(abi::MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
        return keep(call(Command::map_create, map_attr(type, key, value, entries, flags)));
    }
    long element(Command command, long map, const void* key, const void* value, u64 flags = 0) {
        uapi::MapElement attr{};
        attr.map_fd = static_cast<u32>(map);
        attr.key = address(key);
        attr.value = address(value);
        attr.flags = flags;
        return call(command, attr);
    }
    uapi::ProgLoad program(std::span<const isa::Insn> insns, abi::ProgType type) const {
        uapi::ProgLoad attr{};
        attr.prog_type = static_cast<u32>(type);
        attr.insns = address(insns.data());
        attr.insn_cnt = static_cast<u32>(insns.size());
        attr.license = address("GPL");
        return attr;
    }
    long load(std::span<const isa::Insn> insns, abi::ProgType type) {
        auto attr = program(insns, type);
        return keep(call(Command::prog_load, attr));
    }
    template <class T>
    T info(long fd) {
        T result{};
        uapi::GetInfo attr{.bpf_fd = static_cast<u32>(fd), .info_len = sizeof(T), .info = address(&result)};
        EXPECT_EQ(call(Command::obj_get_info_by_fd, attr), 0);
        return result;
    }
    long keep(long fd) {
        if (fd >= 0) held_.emplace_back(static_cast<int>(fd));
        return fd;
    }

  private:
    std::vector<Fd> held_;
};

class OurKernel final : public Caller {
  public:
    OurKernel() {
        auto opened = Kernel::open(scratch_.path());
        if (!opened) ADD_FAILURE() << opened.error().message;
        kernel_ = std::move(*opened);
    }
    long bpf(Command command, void* attr, unsigned size) override {
        return kernel_->bpf(static_cast<int>(command), attr, size);
    }
    long perf_event_open(const void* attr, int pid, int cpu, int group, unsigned long flags) override {
        return kernel_->perf_event_open(attr, pid, cpu, group, flags);
    }
    long ioctl(int fd, unsigned long request, unsigned long argument) override {
        return kernel_->owns(fd) ? kernel_->ioctl(fd, request, argument) : -ENOTTY;
    }
    Kernel& kernel() { return *kernel_; }
    Root& root() { return kernel_->root(); }
    const Scratch& scratch() const { return scratch_; }

  private:
    Scratch scratch_;
    std::unique_ptr<Kernel> kernel_;
};

class LiveKernel final : public Caller {
  public:
    long bpf(Command command, void* attr, unsigned size) override {
        const long result = ::syscall(SYS_bpf, command, attr, size);
        return result < 0 ? -errno : result;
    }
    long perf_event_open(const void* attr, int pid, int cpu, int group, unsigned long flags) override {
        const long result = ::syscall(SYS_perf_event_open, attr, pid, cpu, group, flags);
        return result < 0 ? -errno : result;
    }
    long ioctl(int fd, unsigned long request, unsigned long argument) override {
        const long result = ::syscall(SYS_ioctl, fd, request, argument);
        return result < 0 ? -errno : result;
    }
    // Of the version that we follow, with bpf(2) allowed.
    static bool usable(std::string& why);
};

namespace code {
using isa::Insn;
constexpr Insn mov(u8 dst, i32 imm) { return {.code = 0xb7, .dst = static_cast<u8>(dst & 15), .imm = imm}; }
constexpr Insn mov_reg(u8 dst, u8 src) {
    return {.code = 0xbf, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(src & 15)};
}
constexpr Insn add(u8 dst, i32 imm) { return {.code = 0x07, .dst = static_cast<u8>(dst & 15), .imm = imm}; }
constexpr Insn store32(u8 dst, i16 off, i32 imm) {
    return {.code = 0x62, .dst = static_cast<u8>(dst & 15), .off = off, .imm = imm};
}
constexpr Insn load64(u8 dst, u8 src, i16 off) {
    return {.code = 0x79, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(src & 15), .off = off};
}
constexpr Insn atomic_add64(u8 dst, u8 src) {
    return {.code = 0xdb, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(src & 15)};
}
constexpr Insn jump_if_zero(u8 dst, i16 off) { return {.code = 0x15, .dst = static_cast<u8>(dst & 15), .off = off}; }
constexpr Insn call(i32 helper) { return {.code = 0x85, .imm = helper}; }
constexpr Insn call_function(i32 distance) { return {.code = 0x85, .src = 1, .imm = distance}; }
constexpr Insn exit() { return {.code = 0x95}; }
constexpr Insn lddw(u8 dst, u8 pseudo, i32 imm) {
    return {.code = 0x18, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(pseudo & 15), .imm = imm};
}
constexpr Insn lddw_rest(i32 imm = 0) { return {.imm = imm}; }

inline const std::vector<Insn> nothing = {mov(0, 0), exit()};
// map[0] += 1, of an array of u64
inline std::vector<Insn> count(long map) {
    return {lddw(1, 1, static_cast<i32>(map)),
            lddw_rest(),
            store32(10, -4, 0),
            mov_reg(2, 10),
            add(2, -4),
            call(1),
            jump_if_zero(0, 2),
            mov(1, 1),
            atomic_add64(0, 1),
            mov(0, 7),
            exit()};
}
}  // namespace code

}  // namespace anybpf::kernel
