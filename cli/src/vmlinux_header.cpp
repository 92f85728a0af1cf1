// SPDX-License-Identifier: Apache-2.0
#include "vmlinux_header.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "anybpf/base/sha256.hpp"
#include "anybpf/helpers/task.hpp"
#include "object_file.hpp"
#include "paths.hpp"

namespace anybpf::cli {

namespace {

// Written beside its place and moved there, so that two compilations at once never see half of it.
Outcome<> write_header(const std::string& path, std::span<const std::byte> types) {
    const std::unique_ptr<btf, void (*)(btf*)> btf(btf__new(types.data(), static_cast<u32>(types.size())), btf__free);
    if (!btf)
        return stop(Exit::compile_error, fmt::format("the kernel's BTF cannot be read: {}", std::strerror(errno)));
    std::string temporary = path + ".XXXXXX";
    const int fd = ::mkstemp(temporary.data());
    std::FILE* out = fd < 0 ? nullptr : ::fdopen(fd, "w");
    if (!out) return stop(Exit::compile_error, fmt::format("{}: {}", temporary, std::strerror(errno)));
    std::fputs(
        "#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n\n#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
        "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n#endif\n\n",
        out);
    const auto print = [](void* file, const char* format, va_list arguments) {
        std::vfprintf(static_cast<std::FILE*>(file), format, arguments);
    };
    const std::unique_ptr<btf_dump, void (*)(btf_dump*)> dump(btf_dump__new(btf.get(), print, out, nullptr),
                                                              btf_dump__free);
    bool good = dump != nullptr;
    for (u32 id = 1; good && id < btf__type_cnt(btf.get()); ++id) good = btf_dump__dump_type(dump.get(), id) == 0;
    std::fputs(
        "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n#pragma clang attribute pop\n#endif\n\n#endif /* __VMLINUX_H__ */\n",
        out);
    good = good && !std::ferror(out);
    good = std::fclose(out) == 0 && good;
    if (good && ::chmod(temporary.c_str(), 0644) == 0 && std::rename(temporary.c_str(), path.c_str()) == 0) return {};
    ::unlink(temporary.c_str());
    return stop(Exit::compile_error, fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
}

}  // namespace

Outcome<std::string> vmlinux_header_folder() {
    const auto of_kernel = read_file("/sys/kernel/btf/vmlinux");
    const std::span<const std::byte> types =
        of_kernel ? std::span<const std::byte>(*of_kernel) : helpers::own_vmlinux_btf();
    const auto hash = sha256(types);
    const std::string folder =
        fmt::format("{}/vmlinux-{:02x}", cache_directory(), fmt::join(hash.begin(), hash.begin() + 8, ""));
    const std::string header = folder + "/vmlinux.h";
    if (::access(header.c_str(), R_OK) == 0) return folder;
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    CLI_TRY(write_header(header, types));
    return folder;
}

}  // namespace anybpf::cli
