// SPDX-License-Identifier: Apache-2.0
// What a process finds in the root: maps in its own memory, programs and links as values. Files are not believed: a
// size, an offset or a count that does not fit is an error. No lock and no descriptor is kept.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "anybpf/base/sha256.hpp"
#include "anybpf/kernel/root.hpp"
#include "io.hpp"

namespace anybpf::kernel {
namespace {

struct Opened {
    Fd file;
    std::size_t size = 0;  // trailer included
    bool trusted = false;
};

tl::unexpected<Error> another(const std::string& path) {
    return fail(Errc::malformed, path + " is not the object that its name says");
}

Result<Opened> open_any(const Root& root, const std::string& path, int access) {
    Opened opened{.file = Fd(::open(path.c_str(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK))};
    struct stat info;
    if (!opened.file.valid() || ::fstat(opened.file.get(), &info) != 0) return fail_errno("opening", path);
    if (!root.may_be_object(info)) return another(path);
    opened.size = static_cast<std::size_t>(info.st_size);
    opened.trusted = (info.st_uid == ::geteuid() || info.st_uid == 0) && (info.st_mode & 022) == 0;
    return opened;
}

// Opens an object's file and reads its trailer; the name alone is not believed.
Result<Opened> open_file(const Root& root, ObjectId object, int access) {
    const std::string path = root.file_of(object);
    auto opened = ANYBPF_TRY(open_any(root, path, access));
    ObjectTrailer trailer;
    if (!read_at(opened.file.get(), std::as_writable_bytes(std::span(&trailer, 1)), opened.size - sizeof(trailer)) ||
        root.object_of(trailer, opened.size) != object)
        return another(path);
    return opened;
}

constexpr std::size_t max_copied = 256 << 20;

struct Contents {
    std::vector<std::byte> bytes;  // without the trailer
    bool trusted = false;
};

// The same by one read of the whole file.
Result<Contents> read_file(const Root& root, ObjectId object) {
    const std::string path = root.file_of(object);
    const auto opened = ANYBPF_TRY(open_any(root, path, O_RDONLY));
    if (opened.size > max_copied) return fail(Errc::too_big, path + " is too big");
    Contents contents{std::vector<std::byte>(opened.size), opened.trusted};
    if (!read_at(opened.file.get(), contents.bytes, 0)) return fail(Errc::truncated, path + " ends too early");
    ObjectTrailer trailer;
    std::memcpy(&trailer, contents.bytes.data() + opened.size - sizeof(trailer), sizeof(trailer));
    if (root.object_of(trailer, opened.size) != object) return another(path);
    contents.bytes.resize(opened.size - sizeof(trailer));
    return contents;
}

template <class T>
Result<std::vector<T>> take_table(const ByteReader& in, u32 offset, u32 count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = ANYBPF_TRY(in.slice(offset, std::size_t{count} * sizeof(T)));
    std::vector<T> table(count);
    if (count != 0) std::memcpy(table.data(), bytes.data(), bytes.size());
    return table;
}

Result<ProgramFile> take_header(const Root& root, ByteReader& in, u32 id) {
    const auto header = ANYBPF_TRY(in.take<ProgramFile>());
    if (header.magic != program_magic || header.version != program_version || header.id != id)
        return fail(Errc::malformed, root.file_of({ObjectKind::prog, id}) + " is not a program");
    return header;
}

Result<Attachment> read_attachment(const Root& root, ObjectId object) {
    const auto contents = ANYBPF_TRY(read_file(root, object));
    LinkFile link;
    if (contents.bytes.size() != sizeof(link)) return fail(Errc::malformed, root.file_of(object) + " is not a link");
    std::memcpy(&link, contents.bytes.data(), sizeof(link));
    if (link.magic != link_magic || link.version != files_version)
        return fail(Errc::malformed, root.file_of(object) + " is not a link");
    return Attachment{
        .link_id = link.id,
        .event_id = link.event_id,
        .prog_id = link.prog_id,
        .kind = link.kind,
        .hook_id = link.hook_id,
        .enabled = link.enabled != 0,
        .tree = link.tree,
        .pid = link.pid,
        .link_type = link.link_type,
        .attach_type = link.attach_type,
        .cookie = link.cookie,
        .created_ns = link.created_ns,
        .attached = link.attached,
        .target = std::string(link.target.data(), ::strnlen(link.target.data(), link.target.size())),
    };
}

}  // namespace

Result<MappedMap> Root::map_object(u32 id) const {
    const Opened opened = ANYBPF_TRY(open_file(*this, {ObjectKind::map, id}, O_RDWR));
    MappedMap mapped;
    mapped.memory = ANYBPF_TRY(maps::map_file(opened.file.get()));
    const auto cpus = ANYBPF_TRY(vcpus());
    mapped.map = ANYBPF_TRY(maps::Map::open(mapped.memory.bytes(), cpus));
    return mapped;
}

Result<MappedMap> Root::trace() const { return map_object(trace_map_id); }

Result<MappedPerfBuffer> Root::perf_buffer(u32 event_id) const {
    const Opened opened = ANYBPF_TRY(open_file(*this, {ObjectKind::event, event_id}, O_RDWR));
    MappedPerfBuffer mapped;
    mapped.memory = ANYBPF_TRY(Mapping::shared(opened.file.get(), opened.size, Access::read_write));
    const auto cpus = ANYBPF_TRY(vcpus());
    mapped.buffer = ANYBPF_TRY(maps::PerfBuffer::open(mapped.memory.bytes(), cpus));
    return mapped;
}

Result<ProgramObject> Root::open_program(u32 id) const {
    const auto contents = ANYBPF_TRY(read_file(*this, {ObjectKind::prog, id}));
    ByteReader in(contents.bytes);
    const auto header = ANYBPF_TRY(take_header(*this, in, id));
    // Into locals first: g++ 12 leaks the members already made where an initializer in braces returns.
    auto map_ids = ANYBPF_TRY(take_table<u32>(in, header.map_ids_offset, header.map_count));
    auto lowered = ANYBPF_TRY(take_table<program::LoweredInsn>(in, header.lowered_offset, header.lowered_count));
    auto map_uses = ANYBPF_TRY(take_table<program::MapUse>(in, header.map_use_offset, header.map_use_count));
    auto subprograms =
        ANYBPF_TRY(take_table<program::LoweredSubprogram>(in, header.subprogram_offset, header.subprogram_count));
    auto insns = ANYBPF_TRY(take_table<isa::Insn>(in, header.insn_offset, header.insn_count));
    auto func_infos = ANYBPF_TRY(take_table<program::FuncInfo>(in, header.func_info_offset, header.func_info_count));
    auto line_infos = ANYBPF_TRY(take_table<program::LineInfo>(in, header.line_info_offset, header.line_info_count));
    return ProgramObject{
        .id = id,
        .type = static_cast<abi::ProgType>(header.type),
        .expected_attach_type = static_cast<abi::AttachType>(header.expected_attach_type),
        .flags = header.flags,
        .tag = header.tag,
        .name = std::string(header.name.data(), ::strnlen(header.name.data(), header.name.size())),
        .load_time_ns = header.load_time_ns,
        .uid = header.uid,
        .verifier_version = header.verifier_version,
        .hash = header.hash,
        .btf_id = header.btf_id,
        .verified_insns = header.verified_insns,
        .context_bytes = header.context_bytes,
        .stack_limit = header.stack_limit,
        .map_ids = std::move(map_ids),
        .lowered = {.insns = std::move(lowered),
                    .map_uses = std::move(map_uses),
                    .subprograms = std::move(subprograms),
                    .proved = true},  // or it would not have become a file
        .insns = std::move(insns),
        .func_infos = std::move(func_infos),
        .line_infos = std::move(line_infos),
        .trusted = contents.trusted,
    };
}

Result<std::vector<std::byte>> Root::program_code(u32 id, const std::array<u8, 32>& hash) const {
    const ObjectId object{ObjectKind::prog, id};
    const auto contents = ANYBPF_TRY(read_file(*this, object));
    ByteReader in(contents.bytes);
    const auto header = ANYBPF_TRY(take_header(*this, in, id));
    if (header.code_bytes == 0) return fail(Errc::not_found, file_of(object) + " has no machine code");
    auto code = ANYBPF_TRY(take_table<std::byte>(in, header.code_offset, header.code_bytes));
    if (!contents.trusted || hash_of_code(hash, code) != header.code_hash)
        return fail(Errc::malformed, file_of(object) + " has machine code of another program");
    return code;
}

std::array<u8, 32> hash_of(const program::Lowered& lowered, std::span<const u32> map_ids) {
    std::vector<std::byte> message;
    const auto add = [&](auto span) {
        const u64 count = span.size();
        const auto size = std::as_bytes(std::span(&count, 1));
        message.insert(message.end(), size.begin(), size.end());
        const auto bytes = std::as_bytes(span);
        message.insert(message.end(), bytes.begin(), bytes.end());
    };
    add(std::span(lowered.insns));
    add(std::span(lowered.map_uses));
    add(std::span(lowered.subprograms));
    add(map_ids);
    return sha256(message);
}

std::array<u8, 32> hash_of_code(const std::array<u8, 32>& program_hash, std::span<const std::byte> code) {
    const auto first = std::as_bytes(std::span(program_hash));
    std::vector<std::byte> message(first.begin(), first.end());
    message.insert(message.end(), code.begin(), code.end());
    return sha256(message);
}

Result<Attachment> Root::open_link(u32 id) const { return read_attachment(*this, {ObjectKind::link, id}); }
Result<Attachment> Root::open_event(u32 id) const { return read_attachment(*this, {ObjectKind::event, id}); }

Result<std::vector<std::byte>> Root::read_btf(u32 id) const {
    return ANYBPF_TRY(read_file(*this, {ObjectKind::btf, id})).bytes;
}

std::vector<Attachment> Root::attachments() const {
    std::vector<Attachment> found;
    std::vector<u32> linked;  // events: they need not be opened
    for (const u32 id : ids(ObjectKind::link)) {
        auto link = open_link(id);
        if (!link) continue;
        linked.push_back(link->event_id);
        if (link->kind != HookKind::none && link->prog_id != 0) found.push_back(std::move(*link));
    }
    for (const u32 id : ids(ObjectKind::event)) {
        if (std::ranges::find(linked, id) != linked.end()) continue;
        if (auto event = open_event(id); event && event->prog_id != 0 && event->attached == 0)
            found.push_back(std::move(*event));
    }
    return found;
}

}  // namespace anybpf::kernel
