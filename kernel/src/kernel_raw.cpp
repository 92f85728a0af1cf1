// SPDX-License-Identifier: Apache-2.0
// The system calls: which command goes where, mappings, and waking.
//
// Raw here: mmap at the caller's addresses, and addresses as results. Safe as the system call is: the caller says
// where, and the range that a ring buffer is mapped into was reserved as a whole just before.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>

#include "anybpf/base/mapping.hpp"
#include "io.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::MapType;
using uapi::Command;

namespace {

constexpr std::size_t page = 4096;

int errno_of(const Error& error) {
    if (error.sys_errno != 0) return error.sys_errno;
    switch (error.code) {
        case Errc::not_found:
            return ENOENT;
        case Errc::already_exists:
            return EEXIST;
        case Errc::permission_denied:
            return EACCES;
        case Errc::out_of_memory:
            return ENOMEM;
        case Errc::unsupported:
            return EOPNOTSUPP;
        case Errc::too_big:
            return E2BIG;
        case Errc::busy:
            return EBUSY;
        case Errc::io:
            return EIO;
        case Errc::rejected:
            return EACCES;
        case Errc::invalid_argument:
        case Errc::truncated:
        case Errc::malformed:
            return EINVAL;
    }
    return EINVAL;
}

u64 address_of(const void* pointer) { return std::bit_cast<u64>(pointer); }

u64 wake_key(ObjectId object) { return u64{static_cast<u32>(object.kind)} << 32 | object.id; }

}  // namespace

Result<std::unique_ptr<Kernel>> Kernel::open(std::optional<std::string> root) {
    auto opened = ANYBPF_TRY(Root::open(std::move(root)));
    return std::unique_ptr<Kernel>(new Kernel(std::make_unique<State>(std::move(opened))));
}

Kernel::Kernel(std::unique_ptr<State> state) : state_(std::move(state)) {}
Kernel::~Kernel() = default;
Root& Kernel::root() { return state_->root; }
void Kernel::set_tree(u32 tree) { state_->tree.store(tree); }
void Kernel::set_engine(const engine::AnyEngine& engine) { state_->engine.store(&engine); }
void Kernel::set_compiler(Compile compile) { state_->compile.store(compile); }
void Kernel::judge_for(std::shared_ptr<const btf::Btf> kernel_btf, bool unprivileged) {
    state_->judging = true;
    state_->unprivileged = unprivileged;
    state_->kernel_btf = std::move(kernel_btf);
}
Result<> Kernel::set_limits(const Limits& limits) {
    if (limits.max_insns == 0 || limits.max_insns > UINT32_MAX)
        return fail(Errc::invalid_argument, "the verifier walks 1 to 4294967295 instructions");
    if (limits.stack_bytes == 0 || limits.stack_bytes > abi::max_stack_size)
        return fail(Errc::invalid_argument,
                    "a program has 1 to " + std::to_string(abi::max_stack_size) + " bytes of stack");
    state_->limits.with([&](Limits& now) { now = limits; });
    return {};
}
std::shared_ptr<const btf::Btf> Kernel::kernel_btf() const { return state_->kernel_btf; }
void Kernel::extend(std::shared_ptr<const program::Program> target) {
    state_->extended.with([&](auto& now) { now = std::move(target); });
}
void Kernel::set_watcher(Watcher watcher) {
    state_->watcher.with([&](Watcher& it) { it = std::move(watcher); });
}
std::optional<ObjectId> Kernel::owns(int fd) const { return state_->root.identify(fd); }
std::string Kernel::last_error() const {
    return state_->last_error.with([](const std::string& text) { return text; });
}

template <class F>
long Kernel::answer(F&& call) {
    // Callers rely on errno staying as it was where the result says everything.
    const int before = errno;
    const Result<long> result = std::forward<F>(call)();
    errno = before;
    if (result) return *result;
    state_->last_error.with([&](std::string& text) { text = result.error().message; });
    return -errno_of(result.error());
}

long Kernel::bpf(int command, void* attr, unsigned size) {
    return answer([&]() -> Result<long> {
        const auto read = ANYBPF_TRY(Attr::read(address_of(attr), size));
        if (command < 0 || static_cast<u32>(command) >= uapi::command_count)
            return refuse(EINVAL, "there is no such command");
        return state_->command(static_cast<Command>(command), read);
    });
}

Result<long> Kernel::State::command(Command command, const Attr& attr) {
    switch (command) {
        case Command::map_create:
            return map_create(attr);
        case Command::map_lookup_elem:
            return map_lookup(attr);
        case Command::map_update_elem:
            return map_update(attr);
        case Command::map_delete_elem:
            return map_delete(attr);
        case Command::map_get_next_key:
            return map_next_key(attr);
        case Command::map_lookup_and_delete_elem:
            return map_lookup_and_delete(attr);
        case Command::map_freeze:
            return map_freeze(attr);
        case Command::map_lookup_batch:
        case Command::map_lookup_and_delete_batch:
        case Command::map_update_batch:
        case Command::map_delete_batch:
            return map_batch(attr, command);
        case Command::prog_load:
            return prog_load(attr);
        case Command::prog_test_run:
            return prog_test_run(attr);
        case Command::prog_bind_map:
            return prog_bind_map(attr);
        case Command::btf_load:
            return btf_load(attr);
        case Command::obj_pin:
            return obj_pin(attr);
        case Command::obj_get:
            return obj_get(attr);
        case Command::obj_get_info_by_fd:
            return get_info(attr);
        case Command::prog_get_next_id:
            return next_id(attr, ObjectKind::prog);
        case Command::map_get_next_id:
            return next_id(attr, ObjectKind::map);
        case Command::btf_get_next_id:
            return next_id(attr, ObjectKind::btf);
        case Command::link_get_next_id:
            return next_id(attr, ObjectKind::link);
        case Command::prog_get_fd_by_id:
            return fd_by_id(attr, ObjectKind::prog);
        case Command::map_get_fd_by_id:
            return fd_by_id(attr, ObjectKind::map);
        case Command::btf_get_fd_by_id:
            return fd_by_id(attr, ObjectKind::btf);
        case Command::link_get_fd_by_id:
            return fd_by_id(attr, ObjectKind::link);
        case Command::task_fd_query:
            return task_fd_query(attr);
        case Command::link_create:
            return link_create(attr);
        case Command::link_update:
            return link_update(attr);
        case Command::link_detach:
            return link_detach(attr);
        case Command::raw_tracepoint_open:
            return raw_tracepoint_open(attr);
        case Command::enable_stats:
            ANYBPF_TRY(attr.as<uapi::EnableStats>());
            return refuse(attr.peek<uapi::EnableStats>().type != 0 ? EINVAL : EOPNOTSUPP,
                          "run time statistics are not kept");
        case Command::token_create:
            ANYBPF_TRY(attr.as<uapi::TokenCreate>());
            return refuse(EOPNOTSUPP, "tokens are not supported");
        case Command::iter_create:
            ANYBPF_TRY(attr.as<uapi::IterCreate>());
            if (attr.peek<uapi::IterCreate>().flags != 0) return refuse(EINVAL, "unknown flags");
            ANYBPF_TRY(find(attr.peek<uapi::IterCreate>().link_fd, ObjectKind::link));
            return refuse(EINVAL, "the link is not an iterator's");
        case Command::prog_stream_read_by_fd:
            ANYBPF_TRY(attr.as<uapi::StreamRead>());
            ANYBPF_TRY(find(attr.peek<uapi::StreamRead>().prog_fd, ObjectKind::prog));
            return refuse(EOPNOTSUPP, "programs have no streams");
        case Command::prog_attach:
        case Command::prog_detach:
        case Command::prog_query:
            return refuse(EINVAL, "there are no cgroups, devices or namespaces to attach to");
    }
    return refuse(EINVAL, "there is no such command");
}

long Kernel::perf_event_open(const void* attr, pid_t pid, int cpu, int group, unsigned long flags) {
    return answer([&] { return state_->perf_event_open(address_of(attr), pid, cpu, group, flags); });
}

long Kernel::ioctl(int fd, unsigned long request, unsigned long argument) {
    return answer([&]() -> Result<long> {
        const auto object = owns(fd);
        if (!object || object->kind != ObjectKind::event) return refuse(ENOTTY, "only perf events know ioctls");
        return state_->perf_ioctl(fd, object->id, request, argument);
    });
}

// ------------------------------------------------------------------------------------------------------ mappings

namespace {

Result<long> map_here(void* address, std::size_t length, int protection, int flags, int fd, std::size_t offset) {
    void* at = map_descriptor(address, length, protection, flags, fd, offset);
    if (at == MAP_FAILED) return fail_errno("mmap");
    return static_cast<long>(address_of(at));
}

// The consumer's page may be written; what follows is read, and the data lies there twice, so that no record wraps.
Result<long> map_ring(const maps::Spec& spec, void* address, std::size_t length, int protection, int flags, int fd,
                      std::size_t offset) {
    if ((protection & PROT_WRITE) != 0 && (offset != 0 || length != page))
        return refuse(EPERM, "only the consumer's page may be written");
    const std::size_t once = 2 * page + spec.max_entries, twice = once + spec.max_entries;
    length = (length + page - 1) / page * page;
    if (offset % page != 0 || length == 0 || offset > twice || length > twice - offset)
        return refuse(EINVAL, "the ring buffer ends before");
    if (offset + length <= once) return map_here(address, length, protection, flags, fd, offset);
    const long whole =
        ANYBPF_TRY(map_here(address, length, PROT_NONE, (flags & ~MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const auto place = [&](std::size_t from, std::size_t to, std::size_t shift) -> Result<> {
        from = std::max(from, offset);
        to = std::min(to, offset + length);
        if (from >= to) return {};
        ANYBPF_TRY(map_here(std::bit_cast<void*>(whole + static_cast<long>(from - offset)), to - from, protection,
                            MAP_SHARED | MAP_FIXED, fd, from - shift));
        return {};
    };
    ANYBPF_TRY(place(0, once, 0));
    ANYBPF_TRY(place(once, twice, spec.max_entries));
    return whole;
}

Result<long> map_map(const maps::Map& map, void* address, std::size_t length, int protection, int flags, int fd,
                     std::size_t offset) {
    const auto& spec = map.spec();
    if (spec.type != MapType::array && spec.type != MapType::ringbuf)
        return refuse(not_supported, "maps of this type cannot be mapped");
    if ((flags & (MAP_SHARED | MAP_PRIVATE)) != MAP_SHARED && (flags & MAP_SHARED_VALIDATE) != MAP_SHARED_VALIDATE)
        return refuse(EINVAL, "maps are mapped shared");
    if ((protection & PROT_WRITE) != 0) {
        if ((spec.flags & abi::map_rdonly_prog) != 0 && map.frozen()) return refuse(EPERM, "the map is frozen");
        if (map.frozen()) return refuse(EPERM, "the map is frozen");
        if ((spec.flags & abi::map_rdonly_prog) != 0) return refuse(EACCES, "the map is read-only");
    }
    if (spec.type == MapType::ringbuf) return map_ring(spec, address, length, protection, flags, fd, offset);
    if ((spec.flags & abi::map_mmapable) == 0) return refuse(EINVAL, "the map was made without BPF_F_MMAPABLE");
    const std::size_t values = ((std::size_t{spec.value_size} + 7) / 8 * 8 * spec.max_entries + page - 1) / page * page;
    if (length == 0 || offset % page != 0 || offset > values || length > values - offset)
        return refuse(EINVAL, "the values end before");
    return map_here(address, length, protection, flags, fd, offset);
}

// The first mapping of a perf buffer says how large it is.
Result<long> map_event(Kernel::State& state, u32 event, void* address, std::size_t length, int protection, int flags,
                       int fd, std::size_t offset) {
    const std::size_t pages = length / page;
    if (length % page != 0 || offset != 0 || pages < 2 || !std::has_single_bit(pages - 1) || pages > 1U << 20)
        return refuse(EINVAL, "a perf buffer has 1 + 2^n pages");
    if ((flags & MAP_SHARED) == 0) return refuse(EINVAL, "perf buffers are mapped shared");
    const auto data_pages = static_cast<u32>(pages - 1);
    const ObjectId object{ObjectKind::event, event};
    const std::size_t size = maps::PerfBuffer::file_size(data_pages);
    struct Sizes {
        std::size_t file;
        bool link;
    };
    return state.attaching.with([&](auto&) -> Result<long> {
        const auto now = static_cast<std::size_t>(::lseek(fd, 0, SEEK_END));
        if (now % page != 0) return refuse(EINVAL, "the perf event has no buffer");
        if (now == page) {
            ANYBPF_TRY(state.root.resize(fd, object, size));
            const std::array<std::byte, sizeof(ObjectTrailer)> nothing{};
            if (!write_at(fd, nothing, page - nothing.size())) return fail_errno("writing a perf buffer's file");
            const auto memory = ANYBPF_TRY(Mapping::shared(fd, size, Access::read_write));
            ANYBPF_TRY(maps::PerfBuffer::format(memory.bytes(), data_pages));
            state.root.move_epoch();
        } else if (now != size) {
            return refuse(EINVAL, "the perf buffer has another size");
        }
        return map_here(address, length, protection, flags, fd, 0);
    });
}

}  // namespace

long Kernel::mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
    return answer([&]() -> Result<long> {
        const auto object = owns(fd);
        if (!object || offset < 0) return refuse(EBADF, "the descriptor is not of a BPF object");
        const auto from = static_cast<std::size_t>(offset);
        if (object->kind == ObjectKind::event)
            return map_event(*state_, object->id, address, length, protection, flags, fd, from);
        if (object->kind != ObjectKind::map) return refuse(ENODEV, "objects of this kind cannot be mapped");
        const auto mapped = ANYBPF_TRY(state_->map_by_id(object->id));
        return map_map(*mapped->map, address, length, protection, flags, fd, from);
    });
}

// -------------------------------------------------------------------------------------------------------- waking

// Opened for both directions, so that it never reports a hang-up when a writer has gone.
int Kernel::wake_fd(int fd) {
    return static_cast<int>(answer([&]() -> Result<long> {
        const auto object = owns(fd);
        if (!object) return refuse(EBADF, "the descriptor is not of a BPF object");
        return state_->wakes.with([&](auto& table) -> Result<long> {
            const auto known = table.find(wake_key(*object));
            if (known != table.end()) return known->second.get();
            Fd fifo(::open(state_->root.wake_path(*object).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
            if (!fifo.valid()) return fail_errno("opening", state_->root.wake_path(*object));
            return table.emplace(wake_key(*object), std::move(fifo)).first->second.get();
        });
    }));
}

bool Kernel::readable(int fd) {
    const auto object = owns(fd);
    if (!object) return false;
    if (object->kind == ObjectKind::event) {
        std::array<u64, 2> positions{};  // data_head, data_tail of struct perf_event_mmap_page
        return read_at(fd, std::as_writable_bytes(std::span(positions)), 1024) && positions[0] != positions[1];
    }
    if (object->kind != ObjectKind::map) return false;
    const auto mapped = state_->map_by_id(object->id);
    if (!mapped) return false;
    auto* ring = maps::RingBuffer::of(*(*mapped)->map);
    return ring != nullptr && ring->ready();
}

void Kernel::drain(int fd) {
    std::array<std::byte, 4096> bytes;
    const int wake = wake_fd(fd);
    while (wake >= 0 && ::read(wake, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) {
    }
}

void Kernel::closed(ObjectId object) {
    const int before = errno;
    if (state_->root.collect(object)) {
        // What it referred to may have lost its last reference.
        if (object.kind == ObjectKind::link || object.kind == ObjectKind::prog || object.kind == ObjectKind::event)
            state_->root.sweep();
        state_->forget_dead();
    } else if (object.kind == ObjectKind::map) {
        state_->root.forget_programs(object.id);
    }
    errno = before;
}

std::string Kernel::fdinfo(int fd) {
    const auto object = owns(fd);
    return object ? state_->fdinfo(*object) : std::string();
}

}  // namespace anybpf::kernel
