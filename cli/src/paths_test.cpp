// SPDX-License-Identifier: Apache-2.0
#include "paths.hpp"

#include <gmock/gmock.h>

namespace anybpf::cli {
namespace {

TEST(Nearest, BestFirstAndNothingThatIsFarAway) {
    const std::vector<std::string> known{"tracepoint", "raw_tracepoint", "kprobe", "kretprobe", "xdp", "tc", "tp"};
    EXPECT_THAT(nearest("tracepont", known), testing::ElementsAre("tracepoint"));
    EXPECT_THAT(nearest("kpobe", known), testing::ElementsAre("kprobe"));
    EXPECT_THAT(nearest("something_else", known), testing::IsEmpty());
    EXPECT_EQ(suggestion("kpobe", known), "; did you mean 'kprobe'?");
    EXPECT_EQ(suggestion("something_else", known), "");
}

}  // namespace
}  // namespace anybpf::cli
