// SPDX-License-Identifier: Apache-2.0
// For tests: a root of their own, and bpf(2) on it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/abi/uapi.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/kernel/kernel.hpp"

namespace anybpf::hooks {

namespace uapi = abi::uapi;

inline u64 address_of(const void* pointer) { return std::bit_cast<u64>(pointer); }

// Adds 1 to element 0 of the map with this descriptor; a format.
constexpr const char* adds_one = R"(
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
)";

// A kernel over a private root, which is removed afterwards.
class RootTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/dev/shm/anybpf-test-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        path_ = name;
        auto opened = kernel::Kernel::open(path_);
        ASSERT_TRUE(opened) << opened.error().message;
        kernel_ = std::move(*opened);
    }
    void TearDown() override {
        kernel_.reset();
        std::filesystem::remove_all(path_);
    }

    template <class Attr>
    int bpf(uapi::Command command, const Attr& attr) {
        Attr copy = attr;
        return static_cast<int>(kernel_->bpf(static_cast<int>(command), &copy, sizeof copy));
    }
    Fd map(abi::MapType type, u32 key, u32 value, u32 entries) {
        uapi::MapCreate attr{};
        attr.map_type = static_cast<u32>(type);
        attr.key_size = key;
        attr.value_size = value;
        attr.max_entries = entries;
        return checked(bpf(uapi::Command::map_create, attr));
    }
    // text: what isa::assemble reads; log is printed where the verifier refuses.
    Fd program(abi::ProgType type, std::string_view text) {
        const auto insns = isa::assemble(text);
        EXPECT_TRUE(insns) << insns.error().message;
        if (!insns) return {};
        std::string log(1 << 16, '\0');
        uapi::ProgLoad attr{};
        attr.prog_type = static_cast<u32>(type);
        attr.insn_cnt = static_cast<u32>(insns->size());
        attr.insns = address_of(insns->data());
        attr.license = address_of("GPL");
        attr.log_level = 1;
        attr.log_buf = address_of(log.data());
        attr.log_size = static_cast<u32>(log.size());
        const int fd = bpf(uapi::Command::prog_load, attr);
        EXPECT_GE(fd, 0) << log.c_str();
        return Fd(fd);
    }
    Fd counter(const Fd& map, abi::ProgType type = abi::ProgType::tracepoint) {
        return program(type, fmt::format(adds_one, map.get()));
    }
    Fd perf_event(u32 type, u64 config, const char* function = nullptr, i32 pid = -1) {
        uapi::PerfEventAttr attr{};
        attr.type = type;
        attr.size = sizeof attr;
        attr.config = config;
        attr.sample_period = 1;
        attr.config1 = address_of(function);
        return checked(
            static_cast<int>(kernel_->perf_event_open(&attr, pid, pid == -1 ? 0 : -1, -1, uapi::perf_flag_fd_cloexec)));
    }
    // Attaches through a perf event, as libbpf does: LINK_CREATE, then ENABLE.
    struct Link {
        Fd event, link;
    };
    Link attach(const Fd& program, Fd event, u64 cookie = 0) {
        uapi::LinkCreate attr{};
        attr.prog_fd = static_cast<u32>(program.get());
        attr.target_fd = static_cast<u32>(event.get());
        attr.attach_type = static_cast<u32>(abi::AttachType::perf_event);
        attr.perf_event_bpf_cookie = cookie;
        Link link{std::move(event), checked(bpf(uapi::Command::link_create, attr))};
        EXPECT_EQ(kernel_->ioctl(link.event.get(), uapi::perf_ioc_enable, 0), 0);
        return link;
    }
    Link attach_tracepoint(const Fd& program, abi::TracepointId id, u64 cookie = 0, i32 pid = -1) {
        return attach(program, perf_event(uapi::perf_type_tracepoint, id.v, nullptr, pid), cookie);
    }
    Link attach_function(const Fd& program, const char* name, bool on_return, u64 cookie = 0) {
        return attach(program, perf_event(abi::perf_type_kprobe, on_return ? 1 : 0, name), cookie);
    }
    Fd attach_raw(const Fd& program, const char* name) {
        uapi::RawTracepointOpen attr{};
        attr.name = address_of(name);
        attr.prog_fd = static_cast<u32>(program.get());
        return checked(bpf(uapi::Command::raw_tracepoint_open, attr));
    }
    // What the end of a descriptor's last user brings about at once, instead of by a later sweep.
    void close(Fd fd) {
        const auto object = kernel_->owns(fd.get());
        fd = Fd();
        if (object) kernel_->closed(*object);
    }
    void detach(Link link) {
        close(std::move(link.link));
        close(std::move(link.event));
    }

    template <class T>
    T element(const Fd& map, u32 key) {
        T value{};
        uapi::MapElement attr{};
        attr.map_fd = static_cast<u32>(map.get());
        attr.key = address_of(&key);
        attr.value = address_of(&value);
        EXPECT_EQ(bpf(uapi::Command::map_lookup_elem, attr), 0);
        return value;
    }
    template <class T>
    int set(const Fd& map, u32 key, const T& value) {
        uapi::MapElement attr{};
        attr.map_fd = static_cast<u32>(map.get());
        attr.key = address_of(&key);
        attr.value = address_of(&value);
        return bpf(uapi::Command::map_update_elem, attr);
    }

    std::string path_;
    std::unique_ptr<kernel::Kernel> kernel_;

  private:
    static Fd checked(int fd) {
        EXPECT_GE(fd, 0);
        return Fd(fd);
    }
};

}  // namespace anybpf::hooks
