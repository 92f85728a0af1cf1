// SPDX-License-Identifier: Apache-2.0
#include "paths.hpp"

#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <utility>

namespace anybpf::cli {

namespace fs = std::filesystem;

std::string prefix() {
    std::error_code error;
    fs::path self = fs::read_symlink("/proc/self/exe", error);
    // Without /proc: as it was started, by a path that leads here as long as nobody has changed the directory.
    if (error) self = fs::canonical(std::bit_cast<const char*>(::getauxval(AT_EXECFN)), error);
    return self.parent_path().parent_path().string();
}

std::string cache_directory() {
    std::error_code error;
    const char* xdg = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    for (const fs::path& base : {fs::path(xdg ? xdg : ""), home ? fs::path(home) / ".cache" : fs::path()}) {
        if (!base.is_absolute()) continue;
        const fs::path ours = base / "anybpf";
        fs::create_directories(ours, error);
        if (::access(ours.c_str(), W_OK) == 0) return ours.string();
    }
    // In a folder that everybody may write to, only a directory that is ours alone will do.
    const std::string temporary = fmt::format("{}/anybpf-{}", fs::temp_directory_path(error).string(), ::getuid());
    struct stat info{};
    (void)::mkdir(temporary.c_str(), 0700);
    if (::lstat(temporary.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::getuid() &&
        (info.st_mode & 077) == 0)
        return temporary;
    std::string fresh = temporary + ".XXXXXX";
    return ::mkdtemp(fresh.data()) ? fresh : ".";
}

std::string agent_path() {
    if (const char* given = std::getenv("ANYBPF_AGENT_PATH")) return ::access(given, R_OK) == 0 ? given : "";
    const std::string base = prefix();
    for (const char* place : {"lib/x86_64-linux-gnu/anybpf", "lib/anybpf", "lib64/anybpf", "lib", "agent"}) {
        std::string path = fmt::format("{}/{}/libanybpf-agent.so", base, place);
        if (::access(path.c_str(), R_OK) == 0) return path;
    }
    return {};
}

std::string shipped_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return {};
    for (const char* ending : {".bpf.o", ".bpf.c", ""}) {
        std::string path = fmt::format("{}/share/anybpf/programs/{}{}", prefix(), name, ending);
        if (::access(path.c_str(), R_OK) == 0) return path;
    }
    return {};
}

namespace {

// How many insertions, deletions and replacements lead from one to the other (Levenshtein).
std::size_t distance(const std::string& from, const std::string& to) {
    std::vector<std::size_t> row(to.size() + 1);
    std::iota(row.begin(), row.end(), 0U);
    for (std::size_t i = 0; i < from.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < to.size(); ++j) {
            const std::size_t replaced = diagonal + (from[i] != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

}  // namespace

std::vector<std::string> nearest(const std::string& name, const std::vector<std::string>& known) {
    std::vector<std::pair<std::size_t, const std::string*>> ranked;
    for (const std::string& candidate : known) {
        const std::size_t far = distance(name, candidate);
        if (far <= std::max<std::size_t>(2, name.size() / 3)) ranked.emplace_back(far, &candidate);
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> result;
    for (const auto& [far, candidate] : ranked)
        if (result.size() < 3) result.push_back(*candidate);
    return result;
}

std::string suggestion(const std::string& name, const std::vector<std::string>& known) {
    const auto near = nearest(name, known);
    if (near.empty()) return {};
    return fmt::format("; did you mean '{}'?", fmt::join(near, "', '"));
}

}  // namespace anybpf::cli
