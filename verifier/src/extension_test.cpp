// SPDX-License-Identifier: Apache-2.0
#include "extension_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

TEST(Extension, verdicts) {
    for (const ExtensionCase& one : extension_cases()) {
        const program::Program program = program_of(one);
        const Report report = verify(program, {});
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name << '\n'
                                                                              << explain(report, program);
        EXPECT_EQ(report.accepted, one.expected == Finding::none) << one.name;
    }
}

// One finding tells many flaws: each by its own words.
TEST(Extension, says_what_is_wrong) {
    std::map<std::string, std::string> said;
    for (const ExtensionCase& one : extension_cases()) {
        const program::Program program = program_of(one);
        said[one.name] = message(verify(program, {}).diagnostic, program);
    }
    const auto replace = [](const char* why) {
        return fmt::format("the program cannot replace the function of the other one: {}", why);
    };
    const auto argument = [](int number, const char* why) {
        return fmt::format("argument {} of the program is not like that of the function which it replaces: {}", number,
                           why);
    };
    EXPECT_EQ(said["a helper of the target's type"],
              replace("it may move the packet, and the function that is there does not"));
    EXPECT_EQ(said["no such function"], replace("the other program has no such function"));
    EXPECT_EQ(said["a static function"], replace("the function is static"));
    EXPECT_EQ(said["a static one in its place"], replace("its own function is static"));
    EXPECT_EQ(said["without types"], replace("it has no BTF of its own function"));
    EXPECT_EQ(said["fewer arguments"], replace("the number of arguments is another one"));
    EXPECT_EQ(said["another result"], replace("the result is of another kind"));
    EXPECT_EQ(said["an argument of another size"], argument(1, "their sizes differ"));
    EXPECT_EQ(said["a pointer for a number"], argument(2, "they are of different kinds"));
    EXPECT_EQ(said["another context"], argument(1, "they point to structs of different names"));
    EXPECT_EQ(said["a pointer to a number"], argument(1, "it is neither a number nor a pointer to a struct"));
    EXPECT_EQ(said["a target without types"], replace("the other program was loaded without BTF"));
    EXPECT_EQ(said["a target that extends"], replace("the other program is an extension itself"));
    EXPECT_EQ(said["a target at a function's entry"],
              replace("the other program is attached to a function's entry or exit"));
    EXPECT_EQ(said["a target of security modules"],
              replace("extensions of programs that are attached by BTF are not verified here"));
    EXPECT_EQ(said["one that may sleep"], replace("extensions cannot sleep"));
    EXPECT_EQ(said["the program itself, which is declared otherwise"],
              replace("the other program's own function is not declared with its context as the only argument"));
}

}  // namespace
}  // namespace anybpf::verifier
