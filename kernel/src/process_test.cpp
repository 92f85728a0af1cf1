// SPDX-License-Identifier: Apache-2.0
// Lifetime across processes: handles that die by SIGKILL, openers that race collectors, and what a sweep finds
// afterwards.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <random>

#include "anybpf/kernel/kernel.hpp"
#include "caller.hpp"
#include "processes.hpp"

namespace anybpf::kernel {
namespace {

using abi::MapType;
using abi::ProgType;

// A tool at work: maps, programs, program arrays, links, events, BTF, each going and coming.
void work(const std::string& path, std::atomic<u64>& rounds) {
    auto kernel = Kernel::open(path);
    if (!kernel) ::_exit(1);
    const auto call = [&](Command command, auto attr) {
        return static_cast<int>((*kernel)->bpf(static_cast<int>(command), &attr, sizeof(attr)));
    };
    for (;;) {
        const Fd ring(call(Command::map_create, Caller::map_attr(MapType::ringbuf, 0, 0, 4096)));
        const Fd array(call(Command::map_create, Caller::map_attr(MapType::prog_array, 4, 4, 2)));
        const Fd map(call(Command::map_create, Caller::map_attr(MapType::array, 4, 8, 1)));
        if (!map.valid() || !array.valid() || !ring.valid()) ::_exit(2);
        const auto insns = code::count(map.get());
        uapi::ProgLoad load{};
        load.prog_type = static_cast<u32>(ProgType::raw_tracepoint);
        load.insns = address(insns.data());
        load.insn_cnt = static_cast<u32>(insns.size());
        load.license = address("GPL");
        const Fd program(call(Command::prog_load, load));
        if (!program.valid()) ::_exit(3);
        const u32 key = 0, fd = static_cast<u32>(program.get());
        uapi::MapElement element{
            .map_fd = static_cast<u32>(array.get()), .pad = 0, .key = address(&key), .value = address(&fd), .flags = 0};
        if (call(Command::map_update_elem, element) != 0) ::_exit(4);
        const Fd link(
            call(Command::raw_tracepoint_open,
                 uapi::RawTracepointOpen{.name = address("sys_enter"), .prog_fd = fd, .pad = 0, .cookie = 0}));
        if (!link.valid()) ::_exit(5);
        rounds.fetch_add(1);
    }
}

TEST(Processes, AKilledToolLeavesNothing) {
    struct State {
        std::atomic<u64> rounds{0};
    };
    const Shared<State> shared;
    const Scratch scratch;
    std::mt19937 random(1);
    // On a slow machine it takes more rounds until enough was under way.
    for (int i = 0; i < 40 || (i < 1000 && shared->rounds.load() <= 100); ++i) {
        Child first([&] { work(scratch.path(), shared->rounds); }),
            second([&] { work(scratch.path(), shared->rounds); });
        ::usleep(std::uniform_int_distribution<useconds_t>(1000, 40000)(random));
        first.kill();
        second.kill();
        if (::access((scratch.path() + "/page").c_str(), F_OK) != 0) continue;  // killed before there was anything
        sweep_by_anybody(scratch.path());
        ASSERT_EQ(scratch.entries(), std::vector<std::string>{}) << "round " << i;
    }
    EXPECT_GT(shared->rounds.load(), 100U);
}

// As many objects as there can be, and nobody holds them any more: the next one makes room for itself.
TEST(Processes, ATableFullOfTheDeadIsSwept) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    const auto make = [&]() -> Result<Fd> { return root->publish(ANYBPF_TRY(root->begin(ObjectKind::btf, 64))); };
    u32 made = 0;
    for (; made < max_objects; ++made) {
        ASSERT_TRUE(make());
        if (made % 1024 == 0) {
            ASSERT_EQ(root->ids(ObjectKind::btf).size(), made + 1);
        }
    }
    const auto held = make();
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_EQ(root->ids(ObjectKind::btf).size(), 1U);
}

TEST(Processes, ToolsAtWorkDoNotDisturbEachOther) {
    struct State {
        std::atomic<u64> rounds{0};
    };
    const Shared<State> shared;
    const Scratch scratch;
    std::vector<Child> tools;
    for (int i = 0; i < 3; ++i) tools.emplace_back([&] { work(scratch.path(), shared->rounds); });
    ASSERT_TRUE(soon([&] { return shared->rounds.load() > 0; }));
    Child sweeper([&] {
        auto root = Root::open(scratch.path(), false);
        if (!root) ::_exit(1);
        for (;;) root->sweep();
    });
    ASSERT_TRUE(soon([&] { return shared->rounds.load() > 300; })) << shared->rounds.load();
    // A tool that met an error has left.
    for (auto& tool : tools) tool.kill();
    sweeper.kill();
    sweep_by_anybody(scratch.path());
    EXPECT_EQ(scratch.entries(), std::vector<std::string>{});
}

// Openers race collectors: whoever got a handle has an object that stays, whoever came too late is told so.
TEST(Processes, AnOpenedObjectStays) {
    struct State {
        std::atomic<u32> newest{0};
        std::atomic<u64> opened{0}, late{0}, lost{0};
    };
    const Shared<State> shared;
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    Child maker([&] {
        auto mine = Root::open(scratch.path(), false);
        Fd newest;
        for (;;) {
            auto birth = mine->begin(ObjectKind::btf, 64);
            if (!birth) ::_exit(1);
            const u32 id = birth->object.id;
            auto held = mine->publish(std::move(*birth));
            if (!held) ::_exit(2);
            shared->newest.store(id);
            newest = std::move(*held);  // held until the next one is there
            held = Fd();
        }
    });
    std::vector<Child> others;
    for (int i = 0; i < 2; ++i)
        others.emplace_back([&] {
            auto mine = Root::open(scratch.path(), false);
            for (;;) {
                const ObjectId object{ObjectKind::btf, shared->newest.load()};
                const auto held = mine->hold(object, O_RDONLY);
                (held ? shared->opened : shared->late).fetch_add(1);
                if (held && (!mine->alive(object) || mine->collect(object) || !mine->alive(object)))
                    shared->lost.fetch_add(1);
            }
        });
    others.emplace_back([&] {
        auto mine = Root::open(scratch.path(), false);
        for (;;) mine->sweep();
    });
    EXPECT_TRUE(soon([&] { return shared->opened.load() > 2000 && shared->late.load() > 100; }))
        << shared->opened.load() << " opened, " << shared->late.load() << " late";
    EXPECT_EQ(shared->lost.load(), 0U);
}

TEST(Processes, AChildsCopyOfADescriptorHolds) {
    const Scratch scratch;
    auto kernel = Kernel::open(scratch.path());
    ASSERT_TRUE(kernel);
    auto attr = Caller::map_attr(MapType::array, 4, 8, 1);
    Fd map(static_cast<int>((*kernel)->bpf(0, &attr, sizeof(attr))));
    ASSERT_TRUE(map.valid());
    Child child([] { ::pause(); });
    map = Fd();
    EXPECT_EQ((*kernel)->root().sweep(), 0U);
    EXPECT_TRUE((*kernel)->root().map_object(1));
    child.kill();
    EXPECT_EQ((*kernel)->root().sweep(), 1U);
}

TEST(Processes, AMappingWithoutHandleHoldsNothing) {
    const Scratch scratch;
    struct State {
        std::atomic<u32> mapped{0};
    };
    const Shared<State> shared;
    auto kernel = Kernel::open(scratch.path());
    ASSERT_TRUE(kernel);
    auto attr = Caller::map_attr(MapType::array, 4, 8, 1);
    Fd map(static_cast<int>((*kernel)->bpf(0, &attr, sizeof(attr))));
    Child traced([&, inherited = map.get()] {
        ::close(inherited);
        auto root = Root::join(scratch.path());
        auto mapped = root ? root->map_object(1) : fail(Errc::not_found, "");
        if (!mapped) ::_exit(1);
        shared->mapped.store(1);
        ::pause();
    });
    ASSERT_TRUE(soon([&] { return shared->mapped.load() == 1; }));
    map = Fd();
    EXPECT_EQ((*kernel)->root().sweep(), 1U) << "a sleeping traced process keeps nothing alive";
}

TEST(Processes, ADeadSupervisorIsNoticed) {
    const Scratch scratch;
    struct State {
        std::atomic<u32> tree{0};
    };
    const Shared<State> shared;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    for (int round = 0; round < 20; ++round) {
        shared->tree.store(0);
        Child supervisor([&] {
            auto mine = Root::open(scratch.path(), false);
            const auto tree = mine->supervise();
            shared->tree.store(tree ? *tree : ~0U);
            ::pause();
        });
        ASSERT_TRUE(soon([&] { return shared->tree.load() != 0; }));
        const u32 tree = shared->tree.load();
        EXPECT_FALSE(root->supervisor_dead(tree));
        supervisor.kill();
        EXPECT_TRUE(root->supervisor_dead(tree)) << "the kernel marks it before the parent can know";
    }
    const auto mine = root->supervise();
    ASSERT_TRUE(mine) << "lines of the dead are taken over";
    EXPECT_FALSE(root->supervisor_dead(*mine));
}

TEST(Processes, ALinkGoesWithItsOwner) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    struct State {
        std::atomic<u64> rounds{0};
    };
    const Shared<State> shared;
    Child tool([&] {
        auto kernel = Kernel::open(scratch.path());
        uapi::ProgLoad load{};
        load.prog_type = static_cast<u32>(ProgType::raw_tracepoint);
        load.insns = address(code::nothing.data());
        load.insn_cnt = 2;
        load.license = address("GPL");
        const long program = (*kernel)->bpf(5, &load, sizeof(load));
        uapi::RawTracepointOpen open{
            .name = address("sys_enter"), .prog_fd = static_cast<u32>(program), .pad = 0, .cookie = 0};
        if ((*kernel)->bpf(17, &open, sizeof(open)) >= 0) shared->rounds.store(1);
        ::pause();
    });
    ASSERT_TRUE(soon([&] { return shared->rounds.load() == 1; }));
    ASSERT_EQ(root->attachments().size(), 1U);
    tool.kill();
    const u64 epoch = root->epoch();
    EXPECT_EQ(root->sweep(), 2U) << "the link and its program";
    EXPECT_TRUE(root->attachments().empty());
    EXPECT_GT(root->epoch(), epoch);
}

}  // namespace
}  // namespace anybpf::kernel
