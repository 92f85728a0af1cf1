// SPDX-License-Identifier: Apache-2.0
// The root directory in one process: births, handles, references, collection.
#include "anybpf/kernel/root.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.hpp"

namespace anybpf::kernel {
namespace {

Fd make(Root& root, ObjectKind kind, std::size_t contents = 64) {
    auto birth = root.begin(kind, contents);
    EXPECT_TRUE(birth) << birth.error().message;
    auto fd = root.publish(std::move(*birth));
    EXPECT_TRUE(fd) << fd.error().message;
    return std::move(*fd);
}

TEST(Root, LeavesTheDirectoryEmpty) {
    const Scratch scratch;
    {
        auto root = Root::open(scratch.path());
        ASSERT_TRUE(root) << root.error().message;
        EXPECT_EQ(scratch.entries(), (std::vector<std::string>{"page", "trace", "trace.wake"}));
        const Fd btf = make(*root, ObjectKind::btf);
        EXPECT_EQ(root->identify(btf.get()), (ObjectId{ObjectKind::btf, 1}));
    }
    EXPECT_EQ(scratch.entries(), std::vector<std::string>{});
}

TEST(Root, StaysWhileAnotherHolderLives) {
    const Scratch scratch;
    auto first = Root::open(scratch.path());
    ASSERT_TRUE(first);
    {
        auto second = Root::open(scratch.path());
        ASSERT_TRUE(second);
    }
    EXPECT_EQ(scratch.entries().size(), 3U);
    auto guest = Root::join(scratch.path());
    ASSERT_TRUE(guest) << guest.error().message;
    EXPECT_EQ(guest->epoch(), first->epoch());
}

TEST(Root, RefusesWhatIsNotItsOwn) {
    const Scratch scratch;
    EXPECT_EQ(Root::open(scratch.path() + "/a/b").error().sys_errno, ENOENT);
    ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
    const auto open = Root::open(scratch.path());
    ASSERT_FALSE(open);
    EXPECT_NE(open.error().message.find("0700"), std::string::npos) << open.error().message;
    ASSERT_EQ(::chmod(scratch.path().c_str(), 0700), 0);
    EXPECT_EQ(Root::open("/proc").error().code, Errc::permission_denied);
    EXPECT_EQ(Root::open(scratch.path(), false).error().sys_errno, ENOENT);
    std::ofstream(scratch.path() + "/page") << "not a page";
    EXPECT_EQ(Root::open(scratch.path()).error().code, Errc::malformed);
}

TEST(Root, WalksIdsInOrder) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    std::vector<Fd> held;
    for (int i = 0; i < 5; ++i) held.push_back(make(*root, ObjectKind::btf));
    EXPECT_EQ(root->ids(ObjectKind::btf), (std::vector<u32>{1, 2, 3, 4, 5}));
    held.erase(held.begin() + 2);
    EXPECT_EQ(root->sweep(), 1U);
    EXPECT_EQ(root->next_id(ObjectKind::btf, 2), 4U);
    held.push_back(make(*root, ObjectKind::btf));
    EXPECT_EQ(root->ids(ObjectKind::btf), (std::vector<u32>{1, 2, 4, 5, 6})) << "ids are never used twice";
    EXPECT_EQ(root->next_id(ObjectKind::btf, 6), 0U);
    EXPECT_EQ(root->next_id(ObjectKind::prog, 0), 0U);
}

TEST(Root, ReferencesKeepObjects) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    Fd btf = make(*root, ObjectKind::btf);
    auto birth = root->begin(ObjectKind::prog, 64);
    ASSERT_TRUE(birth);
    ASSERT_TRUE(root->refer(*birth, "btf", {ObjectKind::btf, 1}));
    Fd prog = std::move(*root->publish(std::move(*birth)));
    btf = Fd();
    EXPECT_EQ(root->sweep(), 0U) << "the program refers to the BTF";
    EXPECT_TRUE(root->hold({ObjectKind::btf, 1}, O_RDONLY));
    prog = Fd();
    EXPECT_EQ(root->sweep(), 2U);
    const auto gone = root->hold({ObjectKind::btf, 1}, O_RDONLY);
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().sys_errno, ENOENT);
}

TEST(Root, HoldDoesNotReviveTheDead) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    make(*root, ObjectKind::btf);  // nobody holds it from here on, and nobody has swept
    EXPECT_FALSE(root->hold({ObjectKind::btf, 1}, O_RDONLY));
}

TEST(Root, DescriptorsAreRecognisedHoweverTheyCame) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    const Fd fd = make(*root, ObjectKind::btf);
    const Fd copy(::dup(fd.get()));
    EXPECT_EQ(root->identify(copy.get()), (ObjectId{ObjectKind::btf, 1}));
    const Fd by_name(::open(root->file_of({ObjectKind::btf, 1}).c_str(), O_WRONLY));
    EXPECT_EQ(root->identify(by_name.get()), (ObjectId{ObjectKind::btf, 1})) << "a write-only descriptor";
    EXPECT_EQ(root->identify(0), std::nullopt);
    EXPECT_EQ(root->identify(-1), std::nullopt);
    const Scratch elsewhere;
    auto other = Root::open(elsewhere.path());
    ASSERT_TRUE(other);
    EXPECT_EQ(other->identify(fd.get()), std::nullopt) << "an object of another root on the same file system";
}

TEST(Root, LinksMoveTheEpochWhenTheyGo) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    Fd link = make(*root, ObjectKind::link, sizeof(LinkFile));
    const u64 before = root->epoch();
    root->sweep();
    EXPECT_EQ(root->epoch(), before);
    link = Fd();
    root->sweep();
    EXPECT_GT(root->epoch(), before);
}

TEST(Root, NoRoomIsOutOfMemory) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    const auto birth = root->begin(ObjectKind::map, std::size_t{1} << 44);
    ASSERT_FALSE(birth);
    EXPECT_EQ(birth.error().sys_errno, ENOMEM);
    EXPECT_FALSE(root->begin(ObjectKind::prog, std::size_t{1} << 44));
    EXPECT_EQ(scratch.entries().size(), 3U);
}

TEST(Root, UnfinishedBirthsVanish) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    {
        const auto birth = root->begin(ObjectKind::prog, 64);
        ASSERT_TRUE(birth);
        root->sweep();
        EXPECT_EQ(scratch.entries().size(), 4U) << "a birth is left alone";
    }
    root->sweep();
    EXPECT_EQ(scratch.entries().size(), 3U);
}

TEST(Root, PinsLieInTheVirtualFileSystem) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    EXPECT_EQ(root->pin_path("/sys/fs/bpf//a/./b"), scratch.path() + "/pins/a/b");
    EXPECT_EQ(root->pin_path(scratch.path() + "/pins/x"), scratch.path() + "/pins/x");
    EXPECT_EQ(root->pin_path("/sys/fs/bpf/../../etc"), std::nullopt);
    EXPECT_EQ(root->pin_path("/sys/fs/bpffs"), std::nullopt);
    EXPECT_EQ(root->pin_path("/tmp/x"), std::nullopt);
    Fd btf = make(*root, ObjectKind::btf);
    const auto place = *root->pin_path("/sys/fs/bpf/x");
    ASSERT_TRUE(root->pin({ObjectKind::btf, 1}, place));
    EXPECT_EQ(root->pin({ObjectKind::btf, 1}, place).error().sys_errno, EEXIST);
    btf = Fd();
    EXPECT_EQ(root->sweep(), 0U);
    EXPECT_TRUE(root->hold_path(place, O_RDONLY));
    ::unlink(place.c_str());
    EXPECT_EQ(root->sweep(), 1U);
}

TEST(Root, TreesOfOneSupervisor) {
    const Scratch scratch;
    auto root = Root::open(scratch.path());
    ASSERT_TRUE(root);
    EXPECT_FALSE(root->supervisor_dead(0));
    const auto tree = root->supervise();
    ASSERT_TRUE(tree);
    EXPECT_FALSE(root->supervisor_dead(*tree));
    root->abandon(*tree);
    EXPECT_TRUE(root->supervisor_dead(*tree));
    const auto next = root->supervise();
    ASSERT_TRUE(next);
    EXPECT_EQ(*next % max_trees, *tree % max_trees) << "the same line";
    EXPECT_NE(*next, *tree);
    EXPECT_TRUE(root->supervisor_dead(*tree)) << "the line's new owner does not revive it";
}

}  // namespace
}  // namespace anybpf::kernel
