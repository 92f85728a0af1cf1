// SPDX-License-Identifier: Apache-2.0
// From descriptors to objects, and what this process keeps mapped.
#include "state.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cctype>
#include <ctime>

namespace anybpf::kernel {

bool name_is_good(const std::array<char, abi::name_size>& name) {
    for (const char c : name) {
        if (c == '\0') return true;
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') return false;
    }
    return false;
}

u64 boot_time_ns() {
    timespec now;
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

VirtualCpu::VirtualCpu(maps::VcpuTable table, maps::Map* touched)
    : table_(table), thread_(maps::VcpuThread::current()) {
    claim_ = table_.acquire(thread_);
    if (claim_ && claim_->owner_died && touched != nullptr) touched->recover(claim_->slot);
}

VirtualCpu::~VirtualCpu() {
    if (claim_) table_.release(thread_, claim_->slot);
}

Result<u32> Kernel::State::find(u64 fd, ObjectKind kind) const {
    const int number = static_cast<int>(fd);
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0)
        return refuse(EBADF, "descriptor " + std::to_string(number) + " is not open");
    const auto object = root.identify(number);
    if (!object || object->kind != kind)
        return refuse(EINVAL, "descriptor " + std::to_string(number) + " is not of the object that the call is for");
    return object->id;
}

Result<Fd> Kernel::State::keep(u64 fd) const {
    Fd kept(::fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, 0));
    if (!kept.valid())
        return refuse(errno, "descriptor " + std::to_string(static_cast<int>(fd)) + " cannot be duplicated");
    return kept;
}

Result<std::shared_ptr<const MappedMap>> Kernel::State::map_by_id(u32 id) {
    if (auto known = maps.with([&](auto& table) {
            const auto at = table.find(id);
            return at == table.end() ? nullptr : at->second;
        }))
        return known;
    auto mapped = std::make_shared<const MappedMap>(ANYBPF_TRY(root.map_object(id)));
    maps.with([&](auto& table) { table.emplace(id, mapped); });
    return mapped;
}

Result<std::shared_ptr<const btf::Btf>> Kernel::State::btf_by_id(u32 id) {
    if (auto known = btfs.with([&](auto& table) {
            const auto at = table.find(id);
            return at == table.end() ? nullptr : at->second;
        }))
        return known;
    const auto bytes = ANYBPF_TRY(root.read_btf(id));
    auto parsed = ANYBPF_TRY(btf::Btf::parse(bytes));
    btfs.with([&](auto& table) { table.emplace(id, parsed); });
    return parsed;
}

void Kernel::State::born() {
    if (births.fetch_add(1) % 64 != 63) return;
    root.sweep();
    forget_dead();
}

void Kernel::State::forget_dead() {
    const auto gone = [&](ObjectKind kind) {
        return [this, kind](const auto& entry) { return !root.contains({kind, entry.first}); };
    };
    maps.with([&](auto& table) { std::erase_if(table, gone(ObjectKind::map)); });
    btfs.with([&](auto& table) { std::erase_if(table, gone(ObjectKind::btf)); });
    wakes.with([&](auto& table) {
        std::erase_if(table, [&](const auto& entry) {
            const ObjectId object{static_cast<ObjectKind>(entry.first >> 32), static_cast<u32>(entry.first)};
            return object != trace_object && !root.contains(object);
        });
    });
}

}  // namespace anybpf::kernel
