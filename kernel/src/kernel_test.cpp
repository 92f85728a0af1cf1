// SPDX-License-Identifier: Apache-2.0
// The commands of bpf(2) with our kernel alone: what objects hold and how they go.
#include "anybpf/kernel/kernel.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/btf/builder.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "caller.hpp"

namespace anybpf::kernel {
namespace {

using abi::MapType;
using abi::ProgType;

uapi::PerfEventAttr tracepoint(abi::TracepointId id) {
    uapi::PerfEventAttr attr{};
    attr.type = uapi::perf_type_tracepoint;
    attr.size = sizeof(attr);
    attr.config = id.v;
    return attr;
}

uapi::PerfEventAttr kprobe(const char* symbol, bool returns) {
    uapi::PerfEventAttr attr{};
    attr.type = abi::perf_type_kprobe;
    attr.size = sizeof(attr);
    attr.config = returns ? 1 : 0;
    attr.config1 = address(symbol);
    return attr;
}

uapi::PerfEventAttr perf_output() {
    uapi::PerfEventAttr attr{};
    attr.type = uapi::perf_type_software;
    attr.config = uapi::perf_config_bpf_output;
    return attr;
}

TEST(Kernel, ArrayElements) {
    OurKernel us;
    const long map = us.map(MapType::array, 4, 8, 4);
    ASSERT_GE(map, 0);
    const u32 key = 2, beyond = 4;
    const u64 value = 77;
    u64 read = 0;
    EXPECT_EQ(us.element(Command::map_update_elem, map, &key, &value), 0);
    EXPECT_EQ(us.element(Command::map_lookup_elem, map, &key, &read), 0);
    EXPECT_EQ(read, 77U);
    EXPECT_EQ(us.element(Command::map_lookup_elem, map, &beyond, &read), -ENOENT);
    EXPECT_EQ(us.element(Command::map_update_elem, map, &beyond, &value), -E2BIG);
    EXPECT_EQ(us.element(Command::map_lookup_elem, map, nullptr, &read), -EFAULT);
    const auto info = us.info<uapi::MapInfo>(map);
    EXPECT_EQ(info.type, static_cast<u32>(MapType::array));
    EXPECT_EQ(info.max_entries, 4U);
    EXPECT_EQ(info.id, 1U);
}

TEST(Kernel, FrozenMapsAndNarrowDescriptors) {
    OurKernel us;
    const u32 key = 0;
    u64 value = 1;
    const long map = us.map(MapType::array, 4, 8, 1);
    EXPECT_EQ(us.call(Command::map_freeze, uapi::MapFreeze{.map_fd = static_cast<u32>(map)}), 0);
    EXPECT_EQ(us.element(Command::map_update_elem, map, &key, &value), -EPERM);
    EXPECT_EQ(us.element(Command::map_lookup_elem, map, &key, &value), 0);
    const long readable = us.map(MapType::array, 4, 8, 1, abi::map_rdonly),
               writable = us.map(MapType::array, 4, 8, 1, abi::map_wronly);
    ASSERT_GE(readable, 0);
    ASSERT_GE(writable, 0);
    EXPECT_EQ(us.element(Command::map_update_elem, readable, &key, &value), -EPERM);
    EXPECT_EQ(us.element(Command::map_lookup_elem, readable, &key, &value), 0);
    EXPECT_EQ(us.element(Command::map_lookup_elem, writable, &key, &value), -EPERM);
    EXPECT_EQ(us.element(Command::map_update_elem, writable, &key, &value), 0);
}

TEST(Kernel, AProgramCountsInTheCaller) {
    OurKernel us;
    const long map = us.map(MapType::array, 4, 8, 1);
    const auto insns = code::count(map);
    for (const auto type : {ProgType::raw_tracepoint, ProgType::kprobe, ProgType::tracepoint}) {
        const long program = us.load(insns, type);
        ASSERT_GE(program, 0) << us.kernel().last_error();
        uapi::TestRun run{};
        run.prog_fd = static_cast<u32>(program);
        ASSERT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
        EXPECT_EQ(run.retval, 7U);
        const auto info = us.info<uapi::ProgInfo>(program);
        EXPECT_EQ(info.nr_map_ids, 1U);
        EXPECT_EQ(info.xlated_prog_len, insns.size() * 8);
    }
    const u32 key = 0;
    u64 count = 0;
    us.element(Command::map_lookup_elem, map, &key, &count);
    EXPECT_EQ(count, 3U);
}

TEST(Kernel, TestRunRepeatsAndTells) {
    OurKernel us;
    const long map = us.map(MapType::array, 4, 8, 1);
    const long program = us.load(code::count(map), ProgType::kprobe);
    std::array<u64, 21> context{1, 2, 3}, out{};
    uapi::TestRun run{};
    run.prog_fd = static_cast<u32>(program);
    run.repeat = 1000;
    run.ctx_in = address(context.data());
    run.ctx_size_in = sizeof(context);
    run.ctx_out = address(out.data());
    run.ctx_size_out = sizeof(out);
    ASSERT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
    EXPECT_EQ(out, context);
    EXPECT_EQ(run.ctx_size_out, sizeof(out));
    EXPECT_GT(run.duration, 0U);
    const u32 key = 0;
    u64 count = 0;
    us.element(Command::map_lookup_elem, map, &key, &count);
    EXPECT_EQ(count, 1000U);
    run.ctx_size_out = 8;
    EXPECT_EQ(us.call(Command::prog_test_run, run), -ENOSPC);
}

TEST(Kernel, TheFileHoldsWhatWasLoaded) {
    OurKernel us;
    const long map = us.map(MapType::array, 4, 8, 1);
    const auto insns = code::count(map);
    auto attr = us.program(insns, ProgType::raw_tracepoint);
    std::strcpy(attr.prog_name.data(), "counts");
    const long fd = us.keep(us.call(Command::prog_load, attr));
    ASSERT_GE(fd, 0) << us.kernel().last_error();
    const auto program = us.root().open_program(1);
    ASSERT_TRUE(program) << program.error().message;
    EXPECT_EQ(program->name, "counts");
    EXPECT_EQ(program->flags, program_gpl);
    EXPECT_TRUE(program->trusted);
    EXPECT_EQ(program->hash, hash_of(program->lowered, program->map_ids));
    EXPECT_EQ(program->map_ids, std::vector<u32>{1});
    EXPECT_EQ(program->insns.size(), insns.size());
    EXPECT_GT(program->verified_insns, 0U);
}

// A tracepoint's program is judged by the kernel's types, and then does not run here.
TEST(Kernel, ProgramsAttachedByBtfAreVerified) {
    btf::Builder types;
    const u32 number = types.add_int("int", 4, btf::IntEncoding::signed_);
    const u32 task = types.begin_composite(btf::Kind::struct_, "task_struct", 8);
    types.add_member("pid", number, 0);
    const u32 pointer = types.add_pointer(task), data = types.add_pointer(0);
    const u32 prototype = types.begin_prototype(0);
    types.add_parameter("data", data);
    types.add_parameter("task", pointer);
    const u32 attach = types.add_reference(btf::Kind::typedef_, "btf_trace_x", types.add_pointer(prototype));
    auto parsed = btf::Btf::parse(types.finish());
    ASSERT_TRUE(parsed) << parsed.error().message;

    OurKernel us;
    const auto load = [&](i16 off, ProgType type, u32 id, std::string& log) {
        const std::vector<isa::Insn> insns = {
            code::load64(1, 1, 0), {.code = 0x61, .dst = 0, .src = 1, .off = off, .imm = 0}, code::exit()};
        log.assign(4096, '\0');
        auto attr = us.program(insns, type);
        attr.expected_attach_type = static_cast<u32>(abi::AttachType::trace_raw_tp);
        attr.attach_btf_id = id;
        attr.log_level = 1;
        attr.log_buf = address(log.data());
        attr.log_size = static_cast<u32>(log.size());
        return us.call(Command::prog_load, attr);
    };
    std::string log;
    EXPECT_EQ(load(0, ProgType::tracing, attach, log), -EINVAL) << "no types are known";
    us.kernel().judge_for(*parsed, false);
    EXPECT_EQ(load(0, ProgType::tracing, attach, log), -EOPNOTSUPP) << log;
    EXPECT_NE(log.find(abi::cannot_run_here), std::string::npos) << log;
    EXPECT_EQ(load(8, ProgType::tracing, attach, log), -EACCES) << log;
    EXPECT_NE(log.find("not within one member of struct task_struct"), std::string::npos) << log;
    EXPECT_EQ(load(0, ProgType::kprobe, attach, log), -EINVAL);
    EXPECT_EQ(load(0, ProgType::tracing, 1, log), -EINVAL) << log;

    // Where the type runs here, what reads the kernel's objects still does not.
    const std::vector<isa::Insn> current = {{.code = 0x85, .dst = 0, .src = 0, .off = 0, .imm = 158},
                                            {.code = 0x61, .dst = 0, .src = 0, .off = 0, .imm = 0},
                                            code::exit()};
    log.assign(4096, '\0');
    auto attr = us.program(current, ProgType::kprobe);
    attr.log_level = 1;
    attr.log_buf = address(log.data());
    attr.log_size = static_cast<u32>(log.size());
    EXPECT_EQ(us.call(Command::prog_load, attr), -EOPNOTSUPP) << log;
    EXPECT_NE(log.find("reads an object of the kernel's"), std::string::npos) << log;
}

// Calls of the kernel's functions are judged, and refused by name where programs would run.
TEST(Kernel, ProgramsThatCallTheKernelAreVerified) {
    btf::Builder types;
    const u32 prototype = types.begin_prototype(0);
    const u32 lock = types.add_reference(btf::Kind::func, "bpf_rcu_read_lock", prototype);
    const u32 unlock = types.add_reference(btf::Kind::func, "bpf_rcu_read_unlock", prototype);
    auto parsed = btf::Btf::parse(types.finish());
    ASSERT_TRUE(parsed) << parsed.error().message;
    OurKernel us;
    us.kernel().judge_for(*parsed, false);
    const auto call = [](u32 id) {
        return isa::Insn{.code = 0x85, .dst = 0, .src = 2, .off = 0, .imm = static_cast<i32>(id)};
    };
    const auto load = [&](const std::vector<isa::Insn>& insns, std::string& log) {
        log.assign(4096, '\0');
        auto attr = us.program(insns, ProgType::kprobe);
        attr.log_level = 1;
        attr.log_buf = address(log.data());
        attr.log_size = static_cast<u32>(log.size());
        return us.call(Command::prog_load, attr);
    };
    std::string log;
    EXPECT_EQ(load({call(lock), call(unlock), code::mov(0, 0), code::exit()}, log), -EOPNOTSUPP) << log;
    EXPECT_NE(log.find("kernel functions cannot be called"), std::string::npos) << log;
    EXPECT_EQ(load({call(lock), code::mov(0, 0), code::exit()}, log), -EINVAL) << log;
    EXPECT_EQ(load({call(prototype), code::mov(0, 0), code::exit()}, log), -EINVAL) << log;
}

TEST(Kernel, RefusalsFillTheLog) {
    OurKernel us;
    const std::vector<isa::Insn> bad = {code::load64(0, 10, 8), code::exit()};
    std::string log(4096, 'x');
    auto attr = us.program(bad, ProgType::kprobe);
    attr.log_level = 1;
    attr.log_buf = address(log.data());
    attr.log_size = static_cast<u32>(log.size());
    EXPECT_EQ(us.call(Command::prog_load, attr), -EACCES);
    log.resize(std::strlen(log.c_str()));
    EXPECT_EQ(attr.log_true_size, log.size() + 1);
    EXPECT_NE(log.find("processed "), std::string::npos) << log;
    // Too small a buffer keeps the end, and says how large it should have been.
    std::string end(64, 'x');
    attr.log_buf = address(end.data());
    attr.log_size = static_cast<u32>(end.size());
    EXPECT_EQ(us.call(Command::prog_load, attr), -ENOSPC);
    EXPECT_EQ(attr.log_true_size, log.size() + 1);
    EXPECT_EQ(std::string(end.c_str()), log.substr(log.size() - 63));
    attr.log_level = 1 | uapi::log_fixed;
    EXPECT_EQ(us.call(Command::prog_load, attr), -ENOSPC);
    EXPECT_EQ(std::string(end.c_str()), log.substr(0, 63));
    EXPECT_EQ(us.root().ids(ObjectKind::prog), std::vector<u32>{}) << "nothing stays of a refused program";
}

// Stack that was never written is read as root may, unless the rules for everybody else are asked for.
TEST(Kernel, LoadsArePrivileged) {
    const std::vector<isa::Insn> reads_unwritten = {code::load64(0, 10, -8), code::exit()};
    OurKernel us;
    EXPECT_GE(us.load(reads_unwritten, ProgType::kprobe), 0) << us.kernel().last_error();
    OurKernel unprivileged;
    unprivileged.kernel().judge_for(nullptr, true);
    EXPECT_EQ(unprivileged.load(reads_unwritten, ProgType::kprobe), -EACCES);
}

TEST(Kernel, TheWatcherSeesWhatTheVerifierSaw) {
    OurKernel us;
    std::vector<std::string> seen;
    us.kernel().set_watcher([&](const program::Program& program, const verifier::Report& report) {
        seen.push_back(program.name + (report.accepted ? " accepted, maps " : " refused, maps ") +
                       std::to_string(program.maps.size()));
    });
    const long map = us.map(MapType::array, 4, 8, 1);
    ASSERT_GE(us.load(code::count(map), ProgType::kprobe), 0) << us.kernel().last_error();
    const std::vector<isa::Insn> bad = {code::load64(0, 10, 8), code::exit()};
    EXPECT_LT(us.load(bad, ProgType::kprobe), 0);
    us.kernel().set_watcher({});
    ASSERT_GE(us.load(code::count(map), ProgType::kprobe), 0);
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_NE(seen[0].find(" accepted, maps 1"), std::string::npos) << seen[0];
    EXPECT_NE(seen[1].find(" refused, maps 0"), std::string::npos) << seen[1];
}

TEST(Kernel, AProgramKeepsItsMaps) {
    OurKernel us;
    u32 map_id = 0;
    long program = -1;
    {
        auto attr = Caller::map_attr(MapType::array, 4, 8, 1);
        const Fd map(static_cast<int>(us.call(Command::map_create, attr)));
        map_id = us.info<uapi::MapInfo>(map.get()).id;
        program = us.load(code::count(map.get()), ProgType::kprobe);
        ASSERT_GE(program, 0);
    }
    uapi::GetId by_id{};
    by_id.id = map_id;
    const long again = us.keep(us.call(Command::map_get_fd_by_id, by_id));
    EXPECT_GE(again, 0);
}

TEST(Kernel, ProgramArraysHoldTheirPrograms) {
    OurKernel us;
    const long array = us.map(MapType::prog_array, 4, 4, 4);
    const u32 key = 1;
    u32 id = 0;
    {
        auto attr = us.program(code::nothing, ProgType::kprobe);
        const Fd program(static_cast<int>(us.call(Command::prog_load, attr)));
        const u32 fd = static_cast<u32>(program.get());
        const u64 epoch = us.root().epoch();
        ASSERT_EQ(us.element(Command::map_update_elem, array, &key, &fd), 0) << us.kernel().last_error();
        EXPECT_GT(us.root().epoch(), epoch);
        const auto other = us.load(code::nothing, ProgType::tracepoint);
        const u32 other_fd = static_cast<u32>(other);
        EXPECT_EQ(us.element(Command::map_update_elem, array, &key, &other_fd), -EINVAL)
            << "programs of one array are of one type";
    }
    us.root().sweep();
    ASSERT_EQ(us.element(Command::map_lookup_elem, array, &key, &id), 0);
    EXPECT_TRUE(us.root().open_program(id)) << "its last descriptor is closed, and the array keeps it";
    ASSERT_EQ(us.element(Command::map_delete_elem, array, &key, nullptr), 0);
    us.root().sweep();
    EXPECT_FALSE(us.root().open_program(id));
    EXPECT_EQ(us.element(Command::map_delete_elem, array, &key, nullptr), -ENOENT);
}

TEST(Kernel, AProgramThatCallsItselfDoesNotLiveForEver) {
    OurKernel us;
    {
        auto create = Caller::map_attr(MapType::prog_array, 4, 4, 1);
        const Fd array(static_cast<int>(us.call(Command::map_create, create)));
        // tail_call(ctx, array, 0)
        const std::vector<isa::Insn> insns = {code::lddw(2, 1, array.get()),
                                              code::lddw_rest(),
                                              code::mov(3, 0),
                                              code::call(12),
                                              code::mov(0, 0),
                                              code::exit()};
        auto attr = us.program(insns, ProgType::kprobe);
        const Fd program(static_cast<int>(us.call(Command::prog_load, attr)));
        ASSERT_TRUE(program.valid()) << us.kernel().last_error();
        const u32 key = 0, fd = static_cast<u32>(program.get());
        ASSERT_EQ(us.element(Command::map_update_elem, array.get(), &key, &fd), 0);
        uapi::TestRun run{};
        run.prog_fd = fd;
        EXPECT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
    }
    us.root().sweep();
    EXPECT_EQ(us.scratch().entries(), (std::vector<std::string>{"page", "trace", "trace.wake"}));
}

TEST(Kernel, LinksOverPerfEvents) {
    OurKernel us;
    const long program = us.load(code::nothing, ProgType::tracepoint), probe = us.load(code::nothing, ProgType::kprobe);
    auto attr = tracepoint(*abi::find_tracepoint("syscalls", "sys_enter_openat"));
    const long event = us.keep(us.perf_event_open(&attr, -1, 0, -1, uapi::perf_flag_fd_cloexec));
    ASSERT_GE(event, 0) << us.kernel().last_error();
    us.kernel().set_tree(5);
    uapi::LinkCreate create{};
    create.prog_fd = static_cast<u32>(program);
    create.target_fd = static_cast<u32>(-1);
    create.attach_type = static_cast<u32>(abi::AttachType::perf_event);
    create.perf_event_bpf_cookie = 0x1234;
    EXPECT_EQ(us.call(Command::link_create, create), -EBADF) << "libbpf's probe for cookies";
    create.target_fd = static_cast<u32>(event);
    create.prog_fd = static_cast<u32>(probe);
    EXPECT_EQ(us.call(Command::link_create, create), -EINVAL);
    create.prog_fd = static_cast<u32>(program);
    const u64 epoch = us.root().epoch();
    {
        const Fd link(static_cast<int>(us.call(Command::link_create, create)));
        ASSERT_TRUE(link.valid()) << us.kernel().last_error();
        EXPECT_GT(us.root().epoch(), epoch);
        EXPECT_EQ(us.call(Command::link_create, create), -EEXIST);
        const auto attached = us.root().attachments();
        ASSERT_EQ(attached.size(), 1U);
        EXPECT_EQ(attached[0].kind, HookKind::tracepoint);
        EXPECT_EQ(attached[0].hook_id, attr.config);
        EXPECT_EQ(attached[0].cookie, 0x1234U);
        EXPECT_EQ(attached[0].tree, 5U);
        EXPECT_EQ(attached[0].target, "syscalls:sys_enter_openat");
        EXPECT_TRUE(attached[0].enabled);
        std::array<char, 64> name{};
        uapi::LinkInfo info{};
        info.perf_event.name = address(name.data());
        info.perf_event.name_len = name.size();
        uapi::GetInfo get{.bpf_fd = static_cast<u32>(link.get()), .info_len = sizeof(info), .info = address(&info)};
        ASSERT_EQ(us.call(Command::obj_get_info_by_fd, get), 0);
        EXPECT_STREQ(name.data(), "sys_enter_openat");
        EXPECT_EQ(info.perf_event.type, uapi::perf_tracepoint);
        EXPECT_EQ(us.ioctl(static_cast<int>(event), uapi::perf_ioc_enable, 0), 0);
        EXPECT_EQ(us.call(Command::link_detach, uapi::LinkDetach{.link_fd = static_cast<u32>(link.get())}),
                  -EOPNOTSUPP);
    }
    us.kernel().closed({ObjectKind::link, us.root().next_id(ObjectKind::link, 0)});
    EXPECT_TRUE(us.root().attachments().empty());
    const long link = us.keep(us.call(Command::link_create, create));
    EXPECT_GE(link, 0) << "the event is free again";
}

TEST(Kernel, ProgramsOfPerfEventsAlone) {
    OurKernel us;
    const long program = us.load(code::nothing, ProgType::kprobe);
    auto attr = kprobe("__x64_sys_openat", true);
    {
        const Fd event(static_cast<int>(us.perf_event_open(&attr, -1, 0, -1, 0)));
        ASSERT_TRUE(event.valid()) << us.kernel().last_error();
        EXPECT_EQ(us.ioctl(event.get(), uapi::perf_ioc_set_bpf, 0xfffff), -EBADF);
        EXPECT_EQ(us.ioctl(event.get(), uapi::perf_ioc_set_bpf, static_cast<unsigned long>(event.get())), -EINVAL);
        EXPECT_TRUE(us.root().attachments().empty());
        ASSERT_EQ(us.ioctl(event.get(), uapi::perf_ioc_set_bpf, static_cast<unsigned long>(program)), 0);
        EXPECT_EQ(us.ioctl(event.get(), uapi::perf_ioc_set_bpf, static_cast<unsigned long>(program)), -EEXIST);
        const auto attached = us.root().attachments();
        ASSERT_EQ(attached.size(), 1U);
        EXPECT_EQ(attached[0].kind, HookKind::syscall_return);
        EXPECT_EQ(attached[0].hook_id, 257U);
        EXPECT_EQ(attached[0].link_id, 0U);
        EXPECT_EQ(us.ioctl(event.get(), 0x1234, 0), -ENOTTY);
    }
    const u64 epoch = us.root().epoch();
    us.root().sweep();
    EXPECT_TRUE(us.root().attachments().empty());
    EXPECT_GT(us.root().epoch(), epoch);
}

TEST(Kernel, PerfEventsThatDoNotExist) {
    OurKernel us;
    auto missing = kprobe("no_such_function", false);
    EXPECT_EQ(us.perf_event_open(&missing, -1, 0, -1, 0), -ENOENT);
    auto id = tracepoint({1});
    EXPECT_EQ(us.perf_event_open(&id, -1, 0, -1, 0), -EINVAL);
    uapi::PerfEventAttr uprobe{};
    uprobe.type = abi::perf_type_uprobe;
    EXPECT_EQ(us.perf_event_open(&uprobe, -1, 0, -1, 0), -EOPNOTSUPP);
    EXPECT_EQ(us.perf_event_open(nullptr, -1, 0, -1, 0), -EFAULT);
    EXPECT_EQ(us.root().ids(ObjectKind::event), std::vector<u32>{});
}

TEST(Kernel, RawTracepoints) {
    OurKernel us;
    const long program = us.load(code::nothing, ProgType::raw_tracepoint);
    const auto open = [&](const char* name) {
        uapi::RawTracepointOpen attr{
            .name = address(name), .prog_fd = static_cast<u32>(program), .pad = 0, .cookie = 9};
        return us.keep(us.call(Command::raw_tracepoint_open, attr));
    };
    EXPECT_EQ(open("sys_nothing"), -ENOENT);
    EXPECT_EQ(open("sys_enter_openat"), -ENOENT);
    const long link = open("sys_exit");
    ASSERT_GE(link, 0) << us.kernel().last_error();
    const auto attached = us.root().attachments();
    ASSERT_EQ(attached.size(), 1U);
    EXPECT_EQ(attached[0].kind, HookKind::raw_tracepoint);
    EXPECT_EQ(attached[0].hook_id, abi::raw_sys_exit.v);
    EXPECT_EQ(attached[0].cookie, 9U);
    std::array<char, 4> room{};
    uapi::LinkInfo info{};
    info.raw_tracepoint.tp_name = address(room.data());
    info.raw_tracepoint.tp_name_len = room.size();
    uapi::GetInfo get{.bpf_fd = static_cast<u32>(link), .info_len = sizeof(info), .info = address(&info)};
    EXPECT_EQ(us.call(Command::obj_get_info_by_fd, get), -ENOSPC);
    EXPECT_STREQ(room.data(), "sys");
}

TEST(Kernel, PinsOutliveDescriptors) {
    OurKernel us;
    u32 id = 0;
    uapi::Object at{};
    at.pathname = address("/sys/fs/bpf/kept");
    {
        auto create = Caller::map_attr(MapType::array, 4, 8, 1);
        const Fd map(static_cast<int>(us.call(Command::map_create, create)));
        id = us.info<uapi::MapInfo>(map.get()).id;
        at.bpf_fd = static_cast<u32>(map.get());
        EXPECT_EQ(us.call(Command::obj_pin, at), 0) << us.kernel().last_error();
        EXPECT_EQ(us.call(Command::obj_pin, at), -EEXIST);
    }
    us.root().sweep();
    at.bpf_fd = 0;
    const long again = us.keep(us.call(Command::obj_get, at));
    ASSERT_GE(again, 0) << us.kernel().last_error();
    EXPECT_EQ(us.info<uapi::MapInfo>(again).id, id);
    at.pathname = address("/sys/fs/bpf/nothing");
    EXPECT_EQ(us.call(Command::obj_get, at), -ENOENT);
    at.pathname = address("/tmp");
    EXPECT_EQ(us.call(Command::obj_get, at), -EACCES);
    ::unlink(us.root().pin_path("/sys/fs/bpf/kept")->c_str());
}

TEST(Kernel, WalkingIdsSkipsTheDead) {
    OurKernel us;
    const long first = us.map(MapType::array, 4, 8, 1);
    {
        const Fd dead(static_cast<int>(us.call(Command::map_create, Caller::map_attr(MapType::array, 4, 8, 1))));
        ASSERT_TRUE(dead.valid());
    }
    const long third = us.map(MapType::array, 4, 8, 1);
    ASSERT_GE(std::min(first, third), 0);
    std::vector<u32> ids;
    uapi::GetId walk{};
    while (us.bpf(Command::map_get_next_id, &walk, uapi::GetId::used_by_next) == 0)
        ids.push_back(walk.id = walk.next_id);
    EXPECT_EQ(ids, (std::vector<u32>{1, 3}));
    walk.id = 2;
    walk.next_id = 0;
    EXPECT_EQ(us.call(Command::map_get_fd_by_id, walk), -ENOENT);
}

TEST(Kernel, MappedArraysAreTheMap) {
    OurKernel us;
    const long map = us.map(MapType::array, 4, 8, 512, abi::map_mmapable), plain = us.map(MapType::array, 4, 8, 1);
    const long at = us.kernel().mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, static_cast<int>(map), 0);
    ASSERT_GT(at, 0) << us.kernel().last_error();
    auto* values = reinterpret_cast<u64*>(at);
    values[3] = 99;
    const u32 key = 3;
    u64 value = 0;
    us.element(Command::map_lookup_elem, map, &key, &value);
    EXPECT_EQ(value, 99U);
    EXPECT_EQ(us.kernel().mmap(nullptr, 8192, PROT_READ, MAP_SHARED, static_cast<int>(map), 0), -EINVAL)
        << "what lies behind the values is ours";
    EXPECT_EQ(us.kernel().mmap(nullptr, 4096, PROT_READ, MAP_SHARED, static_cast<int>(plain), 0), -EINVAL);
    EXPECT_EQ(us.kernel().mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, static_cast<int>(map), 0), -EINVAL);
    ::munmap(values, 4096);
}

TEST(Kernel, RingBuffersAreMappedTwiceAndWake) {
    OurKernel us;
    constexpr std::size_t size = 16384;
    const long ring = us.map(MapType::ringbuf, 0, 0, size);
    ASSERT_GE(ring, 0) << us.kernel().last_error();
    const int fd = static_cast<int>(ring);
    const long consumer = us.kernel().mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const long producer = us.kernel().mmap(nullptr, 4096 + 2 * size, PROT_READ, MAP_SHARED, fd, 4096);
    ASSERT_GT(consumer, 0);
    ASSERT_GT(producer, 0) << us.kernel().last_error();
    EXPECT_EQ(us.kernel().mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), -EPERM);
    // ringbuf_output(ring, fp-8, 8, 0)
    const std::vector<isa::Insn> insns = {{.code = 0x7a, .dst = 10, .off = -8, .imm = 4711},
                                          code::lddw(1, 1, fd),
                                          code::lddw_rest(),
                                          code::mov_reg(2, 10),
                                          code::add(2, -8),
                                          code::mov(3, 8),
                                          code::mov(4, 0),
                                          code::call(130),
                                          code::mov(0, 0),
                                          code::exit()};
    const long program = us.load(insns, ProgType::kprobe);
    ASSERT_GE(program, 0) << us.kernel().last_error();
    const int wake = us.kernel().wake_fd(fd);
    ASSERT_GE(wake, 0) << us.kernel().last_error();
    pollfd sleeper{.fd = wake, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
    EXPECT_FALSE(us.kernel().readable(fd));
    uapi::TestRun run{};
    run.prog_fd = static_cast<u32>(program);
    ASSERT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
    EXPECT_EQ(::poll(&sleeper, 1, 0), 1);
    EXPECT_TRUE(us.kernel().readable(fd));
    us.kernel().drain(fd);
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
    const auto* data = reinterpret_cast<const u32*>(producer + 4096);
    EXPECT_EQ(data[0], 8U);
    EXPECT_EQ(data[2], 4711U);
    EXPECT_EQ(data[size / 4 + 2], 4711U) << "the data a second time";
    ::munmap(reinterpret_cast<void*>(consumer), 4096);
    ::munmap(reinterpret_cast<void*>(producer), 4096 + 2 * size);
}

TEST(Kernel, PerfBuffersTakeTheirSizeFromTheFirstMapping) {
    OurKernel us;
    auto attr = perf_output();
    const int event = static_cast<int>(us.keep(us.perf_event_open(&attr, -1, 0, -1, uapi::perf_flag_fd_cloexec)));
    ASSERT_GE(event, 0) << us.kernel().last_error();
    EXPECT_EQ(us.kernel().mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0), -EINVAL);
    const long at = us.kernel().mmap(nullptr, 9 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
    ASSERT_GT(at, 0) << us.kernel().last_error();
    EXPECT_EQ(us.kernel().mmap(nullptr, 5 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0), -EINVAL);
    EXPECT_TRUE(us.kernel().owns(event)) << "still known after it grew";
    const long array = us.map(MapType::perf_event_array, 4, 4, 2);
    const u32 key = 0, value = static_cast<u32>(event);
    ASSERT_EQ(us.element(Command::map_update_elem, array, &key, &value), 0) << us.kernel().last_error();
    // perf_event_output(ctx, array, 0, fp-8, 8)
    const std::vector<isa::Insn> insns = {{.code = 0x7a, .dst = 10, .off = -8, .imm = 4711},
                                          code::lddw(2, 1, static_cast<i32>(array)),
                                          code::lddw_rest(),
                                          code::mov(3, 0),
                                          code::mov_reg(4, 10),
                                          code::add(4, -8),
                                          code::mov(5, 8),
                                          code::call(25),
                                          code::exit()};
    const long program = us.load(insns, ProgType::kprobe);
    ASSERT_GE(program, 0) << us.kernel().last_error();
    const int wake = us.kernel().wake_fd(event);
    uapi::TestRun run{};
    run.prog_fd = static_cast<u32>(program);
    ASSERT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
    EXPECT_EQ(run.retval, 0U);
    EXPECT_TRUE(us.kernel().readable(event));
    pollfd sleeper{.fd = wake, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&sleeper, 1, 0), 1);
    const auto* record = reinterpret_cast<const u32*>(at + 4096);
    EXPECT_EQ(record[0], 9U) << "PERF_RECORD_SAMPLE";
    EXPECT_EQ(record[3], 4711U);
    ::munmap(reinterpret_cast<void*>(at), 9 * 4096);
}

TEST(Kernel, TraceTextReachesTheTraceBuffer) {
    OurKernel us;
    // "hi %d\n" on the stack; trace_printk(fp-8, 7, 42)
    u64 text = 0;
    std::memcpy(&text, "hi %d\n", 7);
    const std::vector<isa::Insn> insns = {code::lddw(1, 0, static_cast<i32>(text)),
                                          code::lddw_rest(static_cast<i32>(text >> 32)),
                                          {.code = 0x7b, .dst = 10, .src = 1, .off = -8},
                                          code::mov_reg(1, 10),
                                          code::add(1, -8),
                                          code::mov(2, 7),
                                          code::mov(3, 42),
                                          code::call(6),
                                          code::mov(0, 0),
                                          code::exit()};
    const long program = us.load(insns, ProgType::kprobe);
    ASSERT_GE(program, 0) << us.kernel().last_error();
    uapi::TestRun run{};
    run.prog_fd = static_cast<u32>(program);
    ASSERT_EQ(us.call(Command::prog_test_run, run), 0) << us.kernel().last_error();
    auto trace = us.root().hold(trace_object, O_RDWR);
    ASSERT_TRUE(trace) << trace.error().message;
    EXPECT_TRUE(us.kernel().readable(trace->get()));
    EXPECT_EQ(us.info<uapi::MapInfo>(trace->get()).type, static_cast<u32>(MapType::ringbuf))
        << "libbpf's ring_buffer can read it";
}

TEST(Kernel, BatchesWalkTheWholeMap) {
    OurKernel us;
    for (const auto type : {MapType::hash, MapType::array}) {
        const long map = us.map(type, 4, 8, 10);
        ASSERT_GE(map, 0);
        std::array<u32, 10> keys;
        std::array<u64, 10> values;
        for (u32 i = 0; i < 10; ++i) keys[i] = i, values[i] = i * 100;
        uapi::MapBatch batch{};
        batch.map_fd = static_cast<u32>(map);
        batch.keys = address(keys.data());
        batch.values = address(values.data());
        batch.count = 10;
        ASSERT_EQ(us.call(Command::map_update_batch, batch), 0) << us.kernel().last_error();
        EXPECT_EQ(batch.count, 10U);
        u64 sum = 0;
        u32 token = 0, rounds = 0;
        batch.in_batch = 0;
        batch.out_batch = address(&token);
        long result = 0;
        while (result == 0 && rounds++ < 10) {
            batch.count = 4;
            result = us.call(Command::map_lookup_batch, batch);
            for (u32 i = 0; i < batch.count; ++i) sum += values[i];
            batch.in_batch = address(&token);
        }
        EXPECT_EQ(result, -ENOENT);
        EXPECT_EQ(sum, 4500U);
    }
}

TEST(Kernel, AttributesOfOtherSizes) {
    OurKernel us;
    std::array<std::byte, 8192> large{};
    auto* attr = reinterpret_cast<uapi::MapCreate*>(large.data());
    attr->map_type = 2;
    attr->key_size = 4;
    attr->value_size = attr->max_entries = 8;
    for (const unsigned size : {16U, 72U, 168U, 200U, 4096U})
        EXPECT_GE(us.keep(us.bpf(Command::map_create, large.data(), size)), 0) << size;
    EXPECT_EQ(us.bpf(Command::map_create, large.data(), 4097), -E2BIG);
    large[180] = std::byte{1};
    EXPECT_EQ(us.bpf(Command::map_create, large.data(), 200), -E2BIG);
    EXPECT_GE(us.keep(us.bpf(Command::map_create, large.data(), 168)), 0);
    large[100] = std::byte{1};
    EXPECT_EQ(us.bpf(Command::map_create, large.data(), 168), -EINVAL);
    EXPECT_EQ(us.bpf(Command::map_create, large.data(), 12), -EINVAL) << "no entries";
    EXPECT_EQ(us.bpf(static_cast<Command>(38), large.data(), 8), -EINVAL);
    EXPECT_EQ(us.kernel().bpf(-1, large.data(), 8), -EINVAL);
}

TEST(Kernel, LeavesNothingBehind) {
    const Scratch scratch;
    {
        auto kernel = Kernel::open(scratch.path());
        ASSERT_TRUE(kernel);
        auto attr = Caller::map_attr(MapType::ringbuf, 0, 0, 4096);
        const Fd map(static_cast<int>((*kernel)->bpf(0, &attr, sizeof(attr))));
        ASSERT_TRUE(map.valid()) << (*kernel)->last_error();
        EXPECT_GE((*kernel)->wake_fd(map.get()), 0);
    }
    EXPECT_EQ(scratch.entries(), std::vector<std::string>{});
}

}  // namespace
}  // namespace anybpf::kernel
