// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "anybpf/embed_object.hpp"

extern "C" int c_objects(const char* root, const char* file);

namespace anybpf::embed {
namespace {

struct Order {
    u64 hidden;
    u32 amount, country;
};

class EmbedObject : public ::testing::Test {
  protected:
    EmbedObject() : root_("/dev/shm/anybpf-object-test-" + std::to_string(::getpid())) {
        std::filesystem::remove_all(root_);
    }
    ~EmbedObject() override { std::filesystem::remove_all(root_); }
    Machine machine() const { return Machine::open({.root = root_}).value(); }
    std::string root_;
};

u64 run(const Object& object, u32 amount, u32 country) {
    const Order order{0, amount, country};
    return object.program("accept")->run(std::as_bytes(std::span(&order, 1))).value();
}
u64 variable(const Object& object, std::string_view map) {
    u64 value = 0;
    std::memcpy(&value, object.map(map)->values().data(), sizeof(value));
    return value;
}

TEST_F(EmbedObject, ProgramsMapsAndVariables) {
    const auto loaded = Object::load_file(machine(), ANYBPF_TEST_OBJECT);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_EQ(loaded->programs().size(), 2U);
    EXPECT_EQ(loaded->program("none"), nullptr);
    EXPECT_EQ(loaded->map("none"), nullptr);
    EXPECT_EQ(run(*loaded, 1000, 49), 1U);
    EXPECT_EQ(run(*loaded, 1001, 49), 0U);
    EXPECT_TRUE(loaded->map("blocked")->put(u32{49}, u64{0}).has_value());
    EXPECT_EQ(run(*loaded, 1000, 49), 0U);
    EXPECT_EQ(loaded->map("blocked")->get<u64>(u32{49}).value(), 1U);
    EXPECT_EQ(variable(*loaded, "rules.data"), 103U);
    EXPECT_EQ(variable(*loaded, "rules.bss"), 1U);
}

TEST_F(EmbedObject, OutlivesTheMachineAndIsLoadedTwice) {
    const Machine machine = this->machine();
    const Object first = Object::load_file(machine, ANYBPF_TEST_OBJECT).value();
    const Object second = Object::load_file(machine, ANYBPF_TEST_OBJECT).value();
    run(first, 1, 1);
    EXPECT_EQ(variable(first, "rules.data"), 101U);
    EXPECT_EQ(variable(second, "rules.data"), 100U);  // its own
}

TEST_F(EmbedObject, LoadsFromManyThreads) {
    const Machine machine = this->machine();
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 3; ++n) {
                const auto object = Object::load_file(machine, ANYBPF_TEST_OBJECT);
                ASSERT_TRUE(object.has_value()) << object.error().message;
                EXPECT_EQ(run(*object, 5, 5), 1U);
            }
        });
}

TEST_F(EmbedObject, SaysWhatIsWrong) {
    const Machine machine = this->machine();
    EXPECT_EQ(Object::load(machine, {}, "empty").error().code, Errc::malformed);
    const auto missing = Object::load_file(machine, "/nowhere/rules.bpf.o");
    ASSERT_FALSE(missing.has_value());
    EXPECT_NE(missing.error().message.find("/nowhere/rules.bpf.o"), std::string::npos);
    // Afterwards the process's calls are its own again: the file of the kernel's tracepoints is the machine's, or none.
    EXPECT_EQ(::access("/sys/kernel/btf/vmlinux", R_OK) == 0, std::filesystem::exists("/sys/kernel/btf/vmlinux"));
}

TEST_F(EmbedObject, ForC) { EXPECT_EQ(c_objects(root_.c_str(), ANYBPF_TEST_OBJECT), 0); }

}  // namespace
}  // namespace anybpf::embed
