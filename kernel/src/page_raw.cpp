// SPDX-License-Identifier: Apache-2.0
// The root as every process that joined it reads it: its page, the table of ids, and the names of files. All that a
// traced exec runs of the root is here and in views.cpp.
//
// Raw here: the page is used in place as RootPage and ObjectTable. Safe because a page that fails check_page (size,
// magic, offsets) is refused, all its fields are atomics or written before the page gets its name, and its size never
// changes.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "anybpf/kernel/root.hpp"
#include "page.hpp"

namespace anybpf::kernel {
Result<> check_owner(const std::string& path) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return fail_errno("opening the root directory", path);
    if (!S_ISDIR(info.st_mode))
        return fail(Errc::invalid_argument, "the root " + path + " is not a directory", ENOTDIR);
    if (info.st_uid != ::geteuid() && info.st_uid != 0)
        return fail(Errc::permission_denied,
                    "the root directory " + path + " belongs to user " + std::to_string(info.st_uid) + ", not to " +
                        std::to_string(::geteuid()),
                    EACCES);
    if ((info.st_mode & 077) != 0)
        return fail(Errc::permission_denied,
                    "the root directory " + path + " is open to other users; it must have mode 0700", EACCES);
    return {};
}

Result<Root> Root::join(const std::string& path) {
    ANYBPF_TRY(check_owner(path));  // what it lies on was checked by the tool that is being joined
    const std::string page_path = path + "/page";
    const Fd file(::open(page_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat info;
    if (!file.valid() || ::fstat(file.get(), &info) != 0) return fail_errno("opening the root's page", page_path);
    Root root(path);
    ANYBPF_TRY(root.map_page(file.get(), info));
    ANYBPF_TRY(root.check_page());
    return root;
}

Result<> Root::map_page(int fd, const struct stat& info) {
    if (static_cast<std::size_t>(info.st_size) != page_bytes())
        return fail(Errc::malformed,
                    "the root's page " + path_ + "/page has a size that is not ours: another version made it");
    page_ = ANYBPF_TRY(Mapping::shared(fd, page_bytes(), Access::read_write));
    shared_ = reinterpret_cast<RootPage*>(page_.data());
    device_ = info.st_dev;
    page_inode_ = info.st_ino;
    return {};
}

Result<> Root::check_page() const {
    if (page().magic != root_magic || page().version != files_version || page().vcpu_offset != page_header ||
        page().vcpu_bytes != vcpu_bytes())
        return fail(Errc::malformed, path_ + "/page is not a root's page of this version");
    return {};
}

Root::Root(Root&& other) noexcept
    : path_(std::move(other.path_)),
      page_(std::move(other.page_)),
      shared_(other.shared_),
      device_(other.device_),
      page_inode_(other.page_inode_),
      holder_(std::exchange(other.holder_, 0)),
      supervised_(std::move(other.supervised_)),
      supervisor_(other.supervisor_) {
    other.supervised_.clear();
}

ObjectTable& Root::objects() const {
    return *reinterpret_cast<ObjectTable*>(page_.data() + page_header + vcpu_bytes());
}

Result<maps::VcpuTable> Root::vcpus() const {
    return maps::VcpuTable::open(page_.bytes().subspan(page_header, vcpu_bytes()));
}

Supervisor Root::supervisor(u32 tree) const {
    return tree == 0 ? Supervisor() : Supervisor(page().trees[tree % max_trees], tree / max_trees);
}

// --------------------------------------------------------------------------------------------------- the table

u32 Root::next_id(ObjectKind kind, u32 after) const {
    const u64 low = table_word({kind, after}), high = table_word({kind, ~0U});
    u64 best = 0;
    const u32 used = std::min(page().objects_used.load(std::memory_order_acquire), max_objects);
    for (u32 i = 0; i < used; ++i) {
        const u64 word = objects()[i].load(std::memory_order_acquire);
        if (word > low && word <= high && (best == 0 || word < best)) best = word;
    }
    return static_cast<u32>(best);
}

std::vector<u32> Root::ids(ObjectKind kind) const {
    std::vector<u32> found;
    const u32 used = std::min(page().objects_used.load(std::memory_order_acquire), max_objects);
    for (u32 i = 0; i < used; ++i) {
        const u64 word = objects()[i].load(std::memory_order_acquire);
        if (word >> 32 == u64{static_cast<u32>(kind)} + 1) found.push_back(static_cast<u32>(word));
    }
    std::sort(found.begin(), found.end());
    return found;
}

// ------------------------------------------------------------------------------------------------------- files

std::string Root::name_of(ObjectId object) {
    if (object == trace_object) return "trace";
    return std::string(kind_names[static_cast<u32>(object.kind)].view()) + "-" + std::to_string(object.id);
}

std::string Root::file_of(ObjectId object) const {
    const std::string path = path_ + "/" + name_of(object);
    if (object.kind == ObjectKind::prog) return path + "/program";
    if (object.kind == ObjectKind::link) return path + "/link";
    return path;
}

std::string Root::wake_path(ObjectId object) const { return path_ + "/" + name_of(object) + ".wake"; }

bool Root::may_be_object(const struct stat& info) const {
    return info.st_dev == device_ && S_ISREG(info.st_mode) && info.st_size >= static_cast<off_t>(sizeof(ObjectTrailer));
}

std::optional<ObjectId> Root::object_of(const ObjectTrailer& trailer, u64 file_size) const {
    if (trailer.magic != object_magic || trailer.root != page().root || trailer.size != file_size ||
        static_cast<u32>(trailer.kind) >= object_kinds)
        return {};
    return ObjectId{trailer.kind, trailer.id};
}

}  // namespace anybpf::kernel
