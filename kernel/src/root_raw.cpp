// SPDX-License-Identifier: Apache-2.0
// The root directory for who makes objects: holders and trees, births, handles, and collection. The protocols are those
// of DESIGN decision 2; each function says what may happen to it when its process is killed in between.
//
// Raw here: the page is formatted in place, before it gets its name. A robust mutex of glibc lies in each tree line;
// nobody but supervise() and abandon() treats it as one.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "anybpf/base/assert.hpp"
#include "anybpf/kernel/root.hpp"
#include "io.hpp"
#include "page.hpp"

namespace anybpf::kernel {
namespace {

static_assert(sizeof(pthread_mutex_t) <= offsetof(Tree, generation));

constexpr u32 trace_bytes = 256 << 10;

bool on_tmpfs(const std::string& path) {
    struct statfs info;
    return ::statfs(path.c_str(), &info) == 0 && info.f_type == TMPFS_MAGIC;
}

bool owned_by_us(const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0 && info.st_uid == ::geteuid();
}

// Anything below a tmpfs of ours would do; anything else would lose the promises of this layer.
Result<> check_directory(const std::string& path) {
    ANYBPF_TRY(check_owner(path));
    if (!on_tmpfs(path))
        return fail(Errc::unsupported,
                    "the root directory " + path + " is not on a tmpfs; set ANYBPF_ROOT to a directory that is",
                    EOPNOTSUPP);
    return {};
}

// A shared lock, waiting out collectors, which hold theirs for microseconds; a stopped one is not waited for for ever.
bool lock_shared(int fd) {
    for (int attempt = 0; attempt < 2000; ++attempt) {
        if (::flock(fd, LOCK_SH | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK && errno != EINTR) return false;
        ::usleep(500);
    }
    errno = EBUSY;
    return false;
}

bool lock_exclusive(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) == 0; }

// Names an O_TMPFILE. AT_EMPTY_PATH needs a capability on older kernels, /proc may be missing: either will do.
bool name_file(int fd, const std::string& path) {
    if (::linkat(fd, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return true;
    if (errno == EEXIST) return false;
    const std::string self = "/proc/self/fd/" + std::to_string(fd);
    return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

// The name still leads to this very file, and nothing else does.
bool only_name(int fd, const std::string& path) {
    struct stat held, named;
    return ::fstat(fd, &held) == 0 && ::lstat(path.c_str(), &named) == 0 && held.st_nlink == 1 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

bool exists(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0;
}

template <class F>
void each_entry(const std::string& directory, F&& visit) {
    DIR* entries = ::opendir(directory.c_str());
    if (entries == nullptr) return;
    while (const dirent* entry = ::readdir(entries)) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") visit(std::string(name));
    }
    ::closedir(entries);
}

void remove_directory(const std::string& path) {
    each_entry(path, [&](const std::string& name) { ::unlink((path + "/" + name).c_str()); });
    ::rmdir(path.c_str());
}

// Removes the directories below (and at) path that hold nothing.
void remove_empty_directories(const std::string& path) {
    each_entry(path, [&](const std::string& name) {
        struct stat info;
        const std::string below = path + "/" + name;
        if (::lstat(below.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) remove_empty_directories(below);
    });
    ::rmdir(path.c_str());
}

constexpr bool is_directory(ObjectKind kind) { return kind == ObjectKind::prog || kind == ObjectKind::link; }

// These files are whole pages, and leave us the last bytes of their last page.
constexpr bool trailer_inside(ObjectKind kind) { return kind == ObjectKind::map || kind == ObjectKind::event; }

// "map-12.wake" -> map 12, ".wake".
std::optional<std::pair<ObjectId, std::string_view>> parse_name(std::string_view name) {
    for (u32 kind = 0; kind < object_kinds; ++kind) {
        const std::string_view prefix = kind_names[kind];
        if (!name.starts_with(prefix) || name.size() <= prefix.size() + 1 || name[prefix.size()] != '-') continue;
        const char* end = name.data() + name.size();
        u32 id = 0;
        const auto [after, error] = std::from_chars(name.data() + prefix.size() + 1, end, id);
        if (error != std::errc{} || (after != end && *after != '.')) return {};
        return std::pair{ObjectId{static_cast<ObjectKind>(kind), id},
                         std::string_view(after, static_cast<std::size_t>(end - after))};
    }
    return {};
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- opening

Result<std::string> Root::default_path() {
    if (const char* chosen = ::getenv("ANYBPF_ROOT"); chosen != nullptr && *chosen != '\0') return std::string(chosen);
    if (const char* runtime = ::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime != '\0')
        if (on_tmpfs(runtime) && owned_by_us(runtime)) return std::string(runtime) + "/anybpf";
    if (on_tmpfs("/run") && (exists("/run/anybpf") ? owned_by_us("/run/anybpf") : ::access("/run", W_OK) == 0))
        return std::string("/run/anybpf");
    if (on_tmpfs("/dev/shm")) return "/dev/shm/anybpf-" + std::to_string(::geteuid());
    return fail(Errc::unsupported,
                "neither $XDG_RUNTIME_DIR nor /run nor /dev/shm is a tmpfs; set ANYBPF_ROOT to a directory on one");
}

Result<Root> Root::open(std::optional<std::string> path, bool create) {
    const std::string chosen = path ? *path : ANYBPF_TRY(default_path());
    if (create && ::mkdir(chosen.c_str(), 0700) != 0 && errno != EEXIST)
        return fail_errno("making the root directory", chosen);
    ANYBPF_TRY(check_directory(chosen));
    return hold_page(chosen, create);
}

// Opens or makes the page and becomes one of its holders.
Result<Root> Root::hold_page(const std::string& path, bool create) {
    const std::string page_path = path + "/page";
    for (int attempt = 0; attempt < 1000; ++attempt) {
        Fd file(::open(page_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
        const bool make = !file.valid() && errno == ENOENT && create;
        if (!file.valid() && !make) return fail_errno("opening the root's page", page_path);
        if (make) {
            file = Fd(::open(path.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
            if (!file.valid()) return fail_errno("making the root's page", path);
            if (::fallocate(file.get(), 0, 0, static_cast<off_t>(page_bytes())) != 0)
                return fail_errno("reserving the root's page", path);
        }
        if (!lock_shared(file.get())) return fail_errno("locking the root's page", page_path);
        struct stat info;
        if (::fstat(file.get(), &info) != 0) return fail_errno("looking at the root's page", page_path);
        if (!make && info.st_nlink == 0) continue;  // its last holder removed it just now
        Root root(path);
        ANYBPF_TRY(root.map_page(file.get(), info));
        if (make) {
            ANYBPF_TRY(root.format_page());
            if (!name_file(file.get(), page_path)) {
                if (errno == EEXIST) continue;  // somebody else was faster
                return fail_errno("naming the root's page", page_path);
            }
        }
        ANYBPF_TRY(root.check_page());
        // From here the mapping keeps the lock: close_range() in the host's program cannot take it away.
        root.holder_ = ::getpid();
        if (create) ANYBPF_TRY(root.make_trace());
        return root;
    }
    return fail(Errc::busy, "the root's page " + page_path + " keeps vanishing");
}

Result<> Root::format_page() {
    auto* const page = new (page_.data()) RootPage{};
    page->magic = root_magic;
    page->version = files_version;
    if (::getrandom(&page->root, sizeof(page->root), 0) != sizeof(page->root)) return fail_errno("getrandom");
    page->vcpu_offset = page_header;
    page->vcpu_bytes = static_cast<u32>(vcpu_bytes());
    maps::VcpuTable::format(page_.bytes().subspan(page_header, vcpu_bytes()), maps::VcpuTable::default_slots);
    pthread_mutexattr_t robust;
    ::pthread_mutexattr_init(&robust);
    ::pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
    for (Tree& tree : page->trees) ::pthread_mutex_init(reinterpret_cast<pthread_mutex_t*>(&tree.owner), &robust);
    ::pthread_mutexattr_destroy(&robust);
    return {};
}

// Killed in between, the next holder makes it: a trace is known by its trailer as this root's.
Result<> Root::make_trace() {
    const std::string path = path_ + "/trace";
    ::mkfifo((path + ".wake").c_str(), 0600);
    for (int attempt = 0; attempt < 100; ++attempt) {
        if (const Fd present(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)); present.valid()) {
            if (identify(present.get()) == trace_object) return {};
            ::unlink(path.c_str());  // a dead root's, left by a holder that was killed while removing it
        }
        const maps::Spec spec{.type = abi::MapType::ringbuf, .max_entries = trace_bytes, .name = {"trace"}};
        const std::size_t size = ANYBPF_TRY(maps::Map::file_size(spec, maps::VcpuTable::default_slots));
        const Fd file = ANYBPF_TRY(unnamed_file(path_, trace_object, size));
        const Mapping memory = ANYBPF_TRY(Mapping::shared(file.get(), size, Access::read_write));
        ANYBPF_TRY(maps::Map::format(memory.bytes(), spec, 0, maps::VcpuTable::default_slots));
        if (name_file(file.get(), path)) return {};
        if (errno != EEXIST) return fail_errno("making the trace buffer", path);
    }
    return fail(Errc::busy, "the trace buffer " + path + " keeps vanishing");
}

Root::~Root() {
    if (page_.bytes().empty()) return;
    if (!supervised_.empty()) {
        if (static_cast<i32>(::syscall(SYS_gettid)) == supervisor_) {
            while (!supervised_.empty()) abandon(supervised_.back());
        } else {
            page_.release();  // glibc's list of the supervising thread leads into it
            return;
        }
    }
    if (holder_ == 0 || holder_ != ::getpid()) return;
    sweep();
    remove_page();
}

// ------------------------------------------------------------------------------------------------------- trees

Result<u32> Root::supervise() {
    for (u32 index = 1; index < max_trees; ++index) {
        Tree& line = page().trees[index];
        auto* mutex = reinterpret_cast<pthread_mutex_t*>(&line.owner);
        const int locked = ::pthread_mutex_trylock(mutex);
        if (locked == EOWNERDEAD) ::pthread_mutex_consistent(mutex);
        if (locked != 0 && locked != EOWNERDEAD) continue;
        // The generation moves after the lock: agents of the line's dead owner may see it alive for this instant.
        constexpr u32 generations = ~0U / max_trees;
        const u32 generation = (line.generation.load() + 1) % generations;
        line.generation.store(generation);
        const u32 tree = generation * max_trees + index;
        const Fd notices(::open(notices_path(tree).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
        supervised_.push_back(tree);
        supervisor_ = static_cast<i32>(::syscall(SYS_gettid));
        return tree;
    }
    return fail(Errc::busy, "all process trees of this root are taken", EBUSY);
}

void Root::abandon(u32 tree) {
    if (std::erase(supervised_, tree) == 0) return;
    ::unlink(notices_path(tree).c_str());
    Tree& line = page().trees[tree % max_trees];
    line.generation.fetch_add(1);
    ::pthread_mutex_unlock(reinterpret_cast<pthread_mutex_t*>(&line.owner));
}

constexpr std::string_view notices_prefix = "notices-", exec_prefix = "exec-", attached_prefix = "attached-";

std::string Root::notices_path(u32 tree) const {
    return path_ + "/" + std::string(notices_prefix) + std::to_string(tree);
}

std::string Root::exec_channel_path(u32 tree) const {
    return path_ + "/" + std::string(exec_prefix) + std::to_string(tree);
}

std::string Root::attached_path(i32 pid) const {
    return path_ + "/" + std::string(attached_prefix) + std::to_string(pid);
}

// --------------------------------------------------------------------------------------------------- the table

bool Root::enter_table(ObjectId object) {
    auto& used = page().objects_used;
    for (u32 i = 0; i < max_objects; ++i) {
        u64 free = 0;
        if (objects()[i].load(std::memory_order_relaxed) != 0 ||
            !objects()[i].compare_exchange_strong(free, table_word(object)))
            continue;
        u32 before = used.load();
        while (before <= i && !used.compare_exchange_weak(before, i + 1)) {
        }
        return true;
    }
    return false;
}

void Root::leave_table(ObjectId object) {
    const u32 used = std::min(page().objects_used.load(), max_objects);
    for (u32 i = 0; i < used; ++i) {
        u64 word = table_word(object);
        if (objects()[i].compare_exchange_strong(word, 0)) return;
    }
}

// ------------------------------------------------------------------------------------------------------- births

bool Root::alive(ObjectId object) const { return exists(file_of(object)); }

Result<Fd> Root::unnamed_file(const std::string& directory, ObjectId object, std::size_t contents) const {
    Fd file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.valid()) return fail_errno("making a file in", directory);
    ANYBPF_TRY(resize(file.get(), object, contents + (trailer_inside(object.kind) ? 0 : sizeof(ObjectTrailer))));
    if (!lock_shared(file.get())) return fail_errno("locking a new file in", directory);
    return file;
}

Result<> Root::resize(int fd, ObjectId object, std::size_t size) const {
    struct statfs room;
    // Asked first, because fallocate of more than there is would take all there is before it gives it back.
    if (::fstatfs(fd, &room) != 0 || size > u64{1} << 46 ||
        (room.f_blocks != 0 && size / static_cast<std::size_t>(room.f_bsize) > room.f_bavail) ||
        ::fallocate(fd, 0, 0, static_cast<off_t>(size)) != 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0)
        return fail(Errc::out_of_memory, "no room for " + std::to_string(size) + " bytes in " + path_, ENOMEM);
    const ObjectTrailer trailer{
        .magic = object_magic, .kind = object.kind, .id = object.id, .reserved = 0, .root = page().root, .size = size};
    if (!write_at(fd, std::as_bytes(std::span(&trailer, 1)), size - sizeof(trailer)))
        return fail_errno("writing an object's file in", path_);
    return {};
}

Result<Birth> Root::begin(ObjectKind kind, std::size_t contents) {
    Birth birth;
    birth.object = {kind, page().last_id[static_cast<u32>(kind)].fetch_add(1) + 1};
    birth.contents = contents;
    std::string directory = path_;
    if (is_directory(kind)) {
        // The directory's lock tells a birth from what a killed one left. A collector may take the directory in the
        // instant before we have it.
        directory += "/" + name_of(birth.object);
        for (int attempt = 0; attempt < 1000; ++attempt) {
            if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("making", directory);
            Fd locked(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            struct stat info;
            if (!locked.valid() || !lock_shared(locked.get()) || ::fstat(locked.get(), &info) != 0 ||
                info.st_nlink == 0)
                continue;
            birth.directory = std::move(locked);
            break;
        }
        if (!birth.directory.valid()) return fail(Errc::busy, "the directory " + directory + " keeps vanishing", EBUSY);
    }
    auto file = unnamed_file(directory, birth.object, contents);
    // The room may be taken by what killed tools left.
    if (!file && file.error().code == Errc::out_of_memory && sweep() != 0)
        file = unnamed_file(directory, birth.object, contents);
    if (!file) {
        if (is_directory(kind)) ::rmdir(directory.c_str());
        return tl::make_unexpected(std::move(file).error());
    }
    birth.file = std::move(*file);
    return birth;
}

void Root::give_up(Birth birth) {
    if (is_directory(birth.object.kind)) remove_directory(path_ + "/" + name_of(birth.object));
}

Result<> Root::refer(const Birth& birth, const std::string& name, ObjectId to) {
    ANYBPF_ASSERT(is_directory(birth.object.kind));
    const std::string link = path_ + "/" + name_of(birth.object) + "/" + name;
    if (::link(file_of(to).c_str(), link.c_str()) != 0 && errno != EEXIST) return fail_errno("linking", link);
    return {};
}

Result<Fd> Root::publish(Birth birth) {
    const std::string path = file_of(birth.object);
    if (!name_file(birth.file.get(), path)) {
        auto error = fail_errno("naming", path);
        give_up(std::move(birth));
        return error;
    }
    // The table may be full of what killed tools left; others want the room that a sweep makes, too.
    bool entered = enter_table(birth.object);
    for (int attempt = 0; attempt < 8 && !entered; ++attempt) {
        sweep();
        entered = enter_table(birth.object);
    }
    if (!entered) {
        ::unlink(path.c_str());
        give_up(std::move(birth));
        return fail(Errc::out_of_memory, "the root " + path_ + " holds as many objects as it can", ENOMEM);
    }
    return std::move(birth.file);
}

Result<> Root::link_beside(const std::string& name, ObjectId to) {
    const std::string link = path_ + "/" + name;
    if (const auto slash = name.find('/'); slash != std::string::npos)
        ::mkdir((path_ + "/" + name.substr(0, slash)).c_str(), 0700);
    if (::link(file_of(to).c_str(), link.c_str()) != 0 && errno != EEXIST) return fail_errno("linking", link);
    return {};
}

void Root::unlink_beside(const std::string& name) { ::unlink((path_ + "/" + name).c_str()); }

Result<Fd> Root::lock_beside(const std::string& name) {
    const std::string path = path_ + "/" + name;
    ::mkdir(path.c_str(), 0700);
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory.valid()) return fail_errno("opening", path);
    for (int attempt = 0; attempt < 2000; ++attempt) {
        if (lock_exclusive(directory.get())) return directory;
        ::usleep(500);
    }
    return fail(Errc::busy, path + " is locked by a process that does not go on", EBUSY);
}

std::vector<u32> Root::programs_in(u32 map) const {
    std::vector<u32> found;
    each_entry(file_of({ObjectKind::map, map}) + ".progs", [&](const std::string& name) {
        u32 id = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), id).ec == std::errc{}) found.push_back(id);
    });
    return found;
}

std::vector<u32> Root::maps_of(u32 program) const {
    std::vector<u32> found;
    each_entry(path_ + "/" + name_of({ObjectKind::prog, program}), [&](const std::string& name) {
        if (const auto parsed = parse_name(name);
            parsed && parsed->first.kind == ObjectKind::map && parsed->second.empty())
            found.push_back(parsed->first.id);
    });
    std::sort(found.begin(), found.end());
    return found;
}

bool Root::uses(u32 program, u32 map) const {
    return exists(path_ + "/" + name_of({ObjectKind::prog, program}) + "/" + name_of({ObjectKind::map, map}));
}

Result<> Root::make_wake(ObjectId object) {
    if (::mkfifo(wake_path(object).c_str(), 0600) != 0 && errno != EEXIST)
        return fail_errno("making", wake_path(object));
    return {};
}

// ------------------------------------------------------------------------------------------------------ handles

std::optional<ObjectId> Root::identify(int fd) const {
    const int flags = ::fcntl(fd, F_GETFL);
    struct stat info;
    if (flags < 0 || (flags & O_PATH) != 0 || ::fstat(fd, &info) != 0 || !may_be_object(info)) return {};
    ObjectTrailer trailer;
    const auto bytes = std::as_writable_bytes(std::span(&trailer, 1));
    const u64 at = static_cast<u64>(info.st_size) - sizeof(trailer);
    bool read = false;
    if ((flags & O_ACCMODE) == O_WRONLY) {
        const Fd readable(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC));
        read = readable.valid() && read_at(readable.get(), bytes, at);
    } else {
        read = read_at(fd, bytes, at);
    }
    return read ? object_of(trailer, at + sizeof(trailer)) : std::nullopt;
}

Result<Fd> Root::hold(ObjectId object, int access) {
    if (object != trace_object) collect(object);
    return hold_path(file_of(object), access);
}

Result<Fd> Root::hold_path(const std::string& path, int access) {
    Fd file(::open(path.c_str(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info;
    if (!file.valid()) return fail_errno("opening", path);
    if (!lock_shared(file.get())) return fail_errno("locking", path);
    if (::fstat(file.get(), &info) != 0 || info.st_nlink == 0) return fail(Errc::not_found, path + " is gone", ENOENT);
    return file;
}

// --------------------------------------------------------------------------------------------------- collection

bool Root::collect(ObjectId object) {
    return is_directory(object.kind) ? collect_directory(object) : collect_file(object);
}

// Killed after the unlink, what stands beside the file is a stray, and the table's line leads nowhere: sweep() removes
// both. Ids are never used twice, so that removing them cannot hit a newborn.
bool Root::collect_file(ObjectId object) {
    const std::string path = file_of(object);
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file.valid() || !lock_exclusive(file.get()) || !only_name(file.get(), path)) return false;
    if (::unlink(path.c_str()) != 0) return false;
    for (const char* beside : {".wake", ".btf", ".program"}) ::unlink((path + beside).c_str());
    if (object.kind == ObjectKind::map) remove_directory(path + ".progs");
    leave_table(object);
    if (object.kind == ObjectKind::event) move_epoch();
    return true;
}

bool Root::collect_directory(ObjectId object) {
    const std::string directory = path_ + "/" + name_of(object), path = file_of(object);
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file.valid()) {
        if (!lock_exclusive(file.get()) || !only_name(file.get(), path) || ::unlink(path.c_str()) != 0) return false;
    } else {
        // A birth that did not come to its end, or a collection; a living birth holds the directory's lock.
        const Fd locked(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        if (!locked.valid() || !lock_exclusive(locked.get()) || exists(path)) return false;
        remove_directory(directory);
        leave_table(object);
        return true;
    }
    remove_directory(directory);
    leave_table(object);
    if (object.kind == ObjectKind::link) move_epoch();
    return true;
}

// A PROG_ARRAY that is neither held nor pinned forgets its programs, even while a program uses it: otherwise a program
// that calls itself through the array would live for ever. The kernel does the same when the last user reference goes.
bool Root::forget_programs(u32 map) {
    const std::string path = file_of({ObjectKind::map, map});
    if (!exists(path + ".progs")) return false;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat info;
    if (!file.valid() || !lock_exclusive(file.get()) || ::fstat(file.get(), &info) != 0) return false;
    nlink_t expected = 1;
    for (const u32 program : ids(ObjectKind::prog)) expected += uses(program, map) ? 1U : 0U;
    if (info.st_nlink != expected) return false;
    remove_directory(path + ".progs");
    move_epoch();
    return true;
}

u32 Root::sweep() {
    // First, because an unfinished program still refers to its maps.
    u32 removed = remove_strays();
    const auto collect_all = [&](ObjectKind kind) {
        for (const u32 id : ids(kind)) {
            const ObjectId object{kind, id};
            if (collect(object))
                ++removed;
            else if (!exists(file_of(object)) && !exists(path_ + "/" + name_of(object)))
                leave_table(object);
        }
    };
    collect_all(ObjectKind::link);
    collect_all(ObjectKind::event);
    for (const u32 map : ids(ObjectKind::map)) forget_programs(map);
    collect_all(ObjectKind::prog);
    collect_all(ObjectKind::map);
    collect_all(ObjectKind::btf);
    return removed;
}

// What is not in the table (its maker was killed before it got there) and what stands beside nothing.
std::vector<u64> Root::table_words() const {
    std::vector<u64> words;
    const u32 used = std::min(page().objects_used.load(std::memory_order_acquire), max_objects);
    for (u32 i = 0; i < used; ++i)
        if (const u64 word = objects()[i].load(std::memory_order_acquire)) words.push_back(word);
    std::sort(words.begin(), words.end());
    return words;
}
u32 Root::remove_strays() {
    std::vector<std::string> names;
    each_entry(path_, [&](const std::string& name) { names.push_back(name); });
    // Once for all names, so that the time grows with their number alone: who sweeps may have little of it before he is
    // killed, too. What was entered since is held by its maker, or may go.
    const std::vector<u64> table = table_words();
    const auto known = [&](ObjectId object) {
        return std::binary_search(table.begin(), table.end(), table_word(object));
    };
    u32 removed = 0;
    for (const std::string& name : names) {
        if (name.starts_with(notices_prefix) || name.starts_with(exec_prefix)) {
            u32 tree = 0;
            std::from_chars(name.data() + name.find('-') + 1, name.data() + name.size(), tree);
            if (tree == 0 || supervisor_dead(tree)) ::unlink((path_ + "/" + name).c_str());
            continue;
        }
        if (name.starts_with(attached_prefix)) {
            pid_t pid = 0;
            std::from_chars(name.data() + attached_prefix.size(), name.data() + name.size(), pid);
            if (pid <= 0 || (::kill(pid, 0) != 0 && errno == ESRCH)) ::unlink((path_ + "/" + name).c_str());
            continue;
        }
        const auto parsed = parse_name(name);
        if (!parsed) continue;
        const auto [object, suffix] = *parsed;
        const std::string path = path_ + "/" + name;
        if (suffix.empty()) {
            if (!known(object)) removed += collect(object) ? 1U : 0U;
        } else if (!exists(path_ + "/" + name_of(object))) {
            if (::unlink(path.c_str()) != 0 && errno == EISDIR) remove_directory(path);
        }
    }
    return removed;
}

// The page goes last: whoever opens it meanwhile waits for our lock, finds it without a name, and makes a new one.
void Root::remove_page() {
    const std::string page_path = path_ + "/page";
    page_ = Mapping();  // with it goes our shared lock
    const Fd file(::open(page_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat info;
    if (!file.valid() || !lock_exclusive(file.get()) || !only_name(file.get(), page_path)) return;
    if (::fstat(file.get(), &info) != 0 || info.st_ino != page_inode_) return;
    bool empty = true;
    remove_empty_directories(path_ + "/pins");
    each_entry(path_, [&](const std::string& name) {
        if (name != "page" && name != "trace" && name != "trace.wake") empty = false;
    });
    if (!empty) return;
    ::unlink((path_ + "/trace").c_str());
    ::unlink((path_ + "/trace.wake").c_str());
    ::unlink(page_path.c_str());
}

// --------------------------------------------------------------------------------------------------------- pins

std::optional<std::string> Root::pin_path(std::string_view path) const {
    const std::string pins = path_ + "/pins";
    std::string_view rest;
    for (const std::string_view prefix : {std::string_view(pins), std::string_view("/sys/fs/bpf")})
        if (path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/'))
            rest = path.substr(prefix.size());
    if (rest.data() == nullptr) return {};
    std::string result = pins;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('/'), rest.size());
        const auto part = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (part.empty() || part == ".") continue;
        if (part == "..") return {};
        result += "/";
        result += part;
    }
    return result;
}

Result<> Root::pin(ObjectId object, const std::string& path) {
    ::mkdir((path_ + "/pins").c_str(), 0700);
    if (::link(file_of(object).c_str(), path.c_str()) != 0) return fail_errno("pinning at", path);
    return {};
}

}  // namespace anybpf::kernel
