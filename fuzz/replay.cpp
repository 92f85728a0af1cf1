// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over the files (and the files in the folders) that it is given: a corpus as a regression test.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "anybpf/base/types.hpp"

extern "C" int LLVMFuzzerTestOneInput(const anybpf::u8* data, std::size_t size);

namespace {
int replayed = 0;

void replay(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    LLVMFuzzerTestOneInput(static_cast<const anybpf::u8*>(static_cast<const void*>(text.data())), text.size());
    ++replayed;
}
}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::filesystem::path path(argv[i]);
        if (std::filesystem::is_directory(path)) {
            for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
                if (entry.is_regular_file()) replay(entry.path());
        } else {
            replay(path);
        }
    }
    std::printf("replayed %d inputs\n", replayed);
    return replayed > 0 ? 0 : 1;  // an empty corpus tests nothing
}
