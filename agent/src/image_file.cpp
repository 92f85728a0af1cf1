// SPDX-License-Identifier: Apache-2.0
#include "image_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "anybpf/base/fd.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 page = 4096;
constexpr u64 pages(u64 size) { return (size + page - 1) & ~(page - 1); }

}  // namespace

Result<AgentImage> read_image(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return fail_errno("opening the agent", path);
    std::array<std::byte, page> start;
    const ssize_t size = ::read(file.get(), start.data(), start.size());
    ByteReader reader(std::span<const std::byte>(start).first(size > 0 ? static_cast<std::size_t>(size) : 0));
    const auto header = ANYBPF_TRY(reader.take<Elf64_Ehdr>());
    AgentImage image;
    image.entry = header.e_entry;
    for (u32 i = 0; i < header.e_phnum; ++i) {
        ANYBPF_TRY(reader.seek(header.e_phoff + u64{i} * sizeof(Elf64_Phdr)));
        const auto segment = ANYBPF_TRY(reader.take<Elf64_Phdr>());
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
        image.data_at = segment.p_vaddr;
        image.data_offset = segment.p_offset;
        image.data_size = segment.p_filesz;
        image.zeros_at = pages(segment.p_vaddr + segment.p_filesz);
        image.size = pages(segment.p_vaddr + segment.p_memsz);
        image.zeros_size = image.size - image.zeros_at;
    }
    if (image.entry == 0 || image.data_at % page != 0 || image.data_offset % page != 0 || image.zeros_size == 0)
        return fail(Errc::malformed, path + " is not an agent of this version");
    return image;
}

Result<FileId> identity(const std::string& path) {
    struct stat file{};
    if (::stat(path.c_str(), &file) != 0) return fail_errno("looking at", path);
    return FileId{file.st_dev, file.st_ino};
}

Result<Arrival> arrival_of(const std::string& agent, const std::string& root, u32 tree) {
    Arrival arrival;
    arrival.image = ANYBPF_TRY(read_image(agent));
    arrival.inheritance.tree = tree;
    arrival.inheritance.agent = ANYBPF_TRY(identity(agent));
    arrival.inheritance.root = ANYBPF_TRY(identity(root));
    if (agent.size() >= arrival.agent_path.size() || root.size() >= arrival.root_path.size())
        return fail(Errc::invalid_argument, "the path of the agent or of the root is too long");
    std::memcpy(arrival.agent_path.data(), agent.data(), agent.size());
    std::memcpy(arrival.root_path.data(), root.data(), root.size());
    return arrival;
}

}  // namespace anybpf::agent
