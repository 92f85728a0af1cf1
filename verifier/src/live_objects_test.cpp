// SPDX-License-Identifier: Apache-2.0
// Objects that programs hold, beside the running kernel: every program of object_cases(), every helper with every map
// type, and every helper with every kind of value in each of its arguments.
#include <map>

#include "anybpf/abi/context.hpp"
#include "live_kernel.hpp"
#include "object_programs.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

class LiveObjects : public ::testing::Test {
  protected:
    void SetUp() override {
        auto opened = LiveKernel::open(object_maps());
        if (!opened) GTEST_SKIP() << "the kernel cannot be asked: " << opened.error().message;
        kernel_.emplace(std::move(*opened));
        if (!kernel_->load(object_program({"", "r0 = 0\nexit"})).accepted)
            GTEST_SKIP() << "the kernel loads no programs here";
    }
    static Report ours(const program::Program& program) {
        Options options;
        options.allow_ptr_leaks = true;
        return verify(program, options);
    }
    static std::string end_of(const std::string& text) {
        return text.substr(text.size() > 1500 ? text.size() - 1500 : 0);
    }
    std::optional<LiveKernel> kernel_;
};

TEST_F(LiveObjects, cases) {
    u32 accepted = 0, refused = 0;
    for (const ObjectCase& one : object_cases()) {
        const program::Program program = object_program(one);
        const auto said = kernel_->load(program);
        EXPECT_EQ(said.accepted, one.expected == Finding::none) << one.name << '\n' << one.text << end_of(said.log);
        ++(said.accepted ? accepted : refused);
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(refused));
}

}  // namespace
}  // namespace anybpf::verifier
