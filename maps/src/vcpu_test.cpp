// SPDX-License-Identifier: Apache-2.0
#include "anybpf/maps/vcpu.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <thread>

#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;

TEST(Vcpu, ThreadsHoldDifferentSlots) {
    auto table = make_table(4);
    const auto me = VcpuThread::current();
    const auto mine = table.acquire(me);
    ASSERT_TRUE(mine);
    EXPECT_FALSE(mine->owner_died);
    EXPECT_FALSE(table.owner_dead(mine->slot));
    std::thread([&] {
        const auto other = VcpuThread::current();
        const auto theirs = table.acquire(other);
        ASSERT_TRUE(theirs);
        EXPECT_NE(theirs->slot, mine->slot);
        table.release(other, theirs->slot);
    }).join();
    table.release(me, mine->slot);
    EXPECT_TRUE(table.owner_dead(mine->slot));
}

TEST(Vcpu, NothingWhenAllAreHeld) {
    auto table = make_table(1);
    const auto me = VcpuThread::current();
    const auto mine = table.acquire(me);
    ASSERT_TRUE(mine);
    std::thread([&] { EXPECT_FALSE(table.acquire(VcpuThread::current())); }).join();
    table.release(me, mine->slot);
    std::thread([&] {
        const auto other = VcpuThread::current();
        const auto theirs = table.acquire(other);
        EXPECT_TRUE(theirs);
        table.release(other, theirs->slot);
    }).join();
}

TEST(Vcpu, AThreadHoldsOneAtMost) {
    auto table = make_table(4);
    const auto me = VcpuThread::current();
    const auto mine = table.acquire(me);
    ASSERT_TRUE(mine);
    EXPECT_FALSE(table.acquire(me));
    table.release(me, mine->slot);
}

// A handler that interrupts a claim or a release, or leaves one by siglongjmp, finds an announcement without an owner.
TEST(Vcpu, AnAnnouncementAloneHoldsNothing) {
    auto table = make_table(1);
    const auto me = VcpuThread::current();
    const auto mine = table.acquire(me);
    ASSERT_TRUE(mine);
    robust_list* const announced = me.robust->list_op_pending;
    table.release(me, mine->slot);
    me.robust->list_op_pending = announced;
    const auto again = table.acquire(me);
    ASSERT_TRUE(again);
    table.release(me, again->slot);
    EXPECT_EQ(me.robust->list_op_pending, announced);
    me.robust->list_op_pending = nullptr;
}

TEST(Vcpu, AnOuterAnnouncementIsPutBack) {
    auto table = make_table(4);
    const auto me = VcpuThread::current();
    robust_list outer{};
    robust_list* const before = me.robust->list_op_pending;
    me.robust->list_op_pending = &outer;  // a guest inside pthread_mutex_lock of a robust mutex
    const auto mine = table.acquire(me);
    ASSERT_TRUE(mine);
    EXPECT_NE(me.robust->list_op_pending, &outer);
    table.release(me, mine->slot);
    EXPECT_EQ(me.robust->list_op_pending, &outer);
    me.robust->list_op_pending = before;
}

TEST(Vcpu, OpenRefusesWhatIsNoTable) {
    const auto memory = shared_memory(4096);
    EXPECT_FALSE(VcpuTable::open(memory));
    EXPECT_FALSE(VcpuTable::open(memory.first(8)));
    VcpuTable::format(memory, 4);
    EXPECT_TRUE(VcpuTable::open(memory));
    EXPECT_FALSE(VcpuTable::open(memory.subspan(64)));
    EXPECT_FALSE(VcpuTable::open(memory.first(VcpuTable::bytes(4) - 1)));
}

TEST(Vcpu, ALockWordIsNeverZeroAndNamesItsSlot) {
    const auto table = make_table(4);
    for (u32 slot = 0; slot < 4; ++slot) {
        EXPECT_NE(table.lock_word(slot), 0U);
        EXPECT_EQ(VcpuTable::slot_of(table.lock_word(slot)), slot);
    }
    EXPECT_TRUE(table.lock_owner_dead(99));  // beyond the table
}

// A thread of a raw clone has no robust list: it can hold a slot only with a list of its own.
TEST(Vcpu, AThreadWithoutAListUsesItsOwn) {
    auto table = make_table(1);
    const pid_t child = ::fork();
    if (child == 0) {
        ::syscall(SYS_set_robust_list, nullptr, sizeof(robust_list_head));
        if (table.acquire(VcpuThread::current())) ::_exit(1);
        static robust_list_head own{};
        const auto thread = VcpuThread::current(&own);
        if (thread.robust != &own || !table.acquire(thread)) ::_exit(2);
        ::_exit(0);  // dies as the owner
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    const auto me = VcpuThread::current();
    const auto claim = table.acquire(me);
    ASSERT_TRUE(claim);
    EXPECT_TRUE(claim->owner_died);
    table.release(me, claim->slot);
}

}  // namespace
}  // namespace anybpf::maps
