// SPDX-License-Identifier: Apache-2.0
// Loader: programs, maps and perf buffers of the root, brought into this process once each. Each knows the last build
// of a table that asked for it; whoever keeps the tables says up to which build nobody uses them any more.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "anybpf/engine/code.hpp"
#include "anybpf/kernel/root.hpp"

namespace anybpf::hooks {

struct LoadedMap {
    u32 id = 0;
    kernel::MappedMap mapped;
    std::string wake_path;  // of a ring buffer; empty otherwise
    maps::Map& map() const { return *mapped.map; }
};

struct LoadedProgram {
    u32 id = 0;
    abi::ProgType type{};
    abi::AttachType attach_type{};
    u32 context_bytes = 0;
    bool prints = false;        // it calls trace_printk or trace_vprintk
    std::array<u8, 32> hash{};  // of what is believed; zero where it was verified here
    std::shared_ptr<const engine::Executable> executable;
    std::shared_ptr<const engine::JitProgram> code;  // null: not asked for, or there is none
    std::vector<const LoadedMap*> maps;
    Mapping frozen;  // private copies of frozen maps, where the verdict had to be found here
};

struct LoadedBuffer {
    u32 event_id = 0;
    kernel::MappedPerfBuffer mapped;
    std::string wake_path;
};

class Loader {
  public:
    // May this process believe a verdict that it finds (runtime.md, "Cached verdicts")?
    Loader(const kernel::Root& root, bool believe) : root_(root), believe_(believe) {}

    // The builds are numbered upwards; what is asked for from now on is of this one.
    void begin(u64 build) { build_ = build; }
    // Frees what was last asked for in a build before this one.
    void release(u64 before);

    // Null where it does not exist or must not run here; problem() then says why.
    const LoadedProgram* program(u32 id);
    const LoadedMap* map(u32 id);
    const LoadedBuffer* buffer(u32 event_id);

    // Of this build.
    template <class Visit>
    void each_map(const Visit& visit) const {
        for (const auto& [id, map] : maps_)
            if (map.object && map.build == build_) visit(*map.object);
    }
    // From now on machine code is looked for, also that of programs that are here already.
    void link_code();
    // Whether every program of this build has it.
    bool all_linked() const {
        return links_code_ && std::ranges::all_of(programs_, [this](const auto& each) {
                   return !each.second.object || each.second.build != build_ || each.second.object->code;
               });
    }
    // Whether any program that was loaded writes into the trace buffer.
    bool prints() const {
        return std::ranges::any_of(programs_,
                                   [](const auto& each) { return each.second.object && each.second.object->prints; });
    }
    const std::string& problem() const { return problem_; }

  private:
    Result<std::unique_ptr<LoadedProgram>> load_program(u32 id);
    Result<program::Lowered> verify_again(const kernel::ProgramObject& object, LoadedProgram& program,
                                          std::vector<engine::BoundMap>& bound) const;

    void link_code(LoadedProgram& program) const;

    template <class T>
    struct Entry {
        std::unique_ptr<T> object;  // null: it cannot be had, which stays so, since ids are never used twice
        u64 build = 0;              // that asked for it last
    };

    const kernel::Root& root_;
    bool believe_;
    bool links_code_ = false;
    u64 build_ = 0;
    std::string problem_;
    std::map<u32, Entry<LoadedProgram>> programs_;
    std::map<u32, Entry<LoadedMap>> maps_;
    std::map<u32, Entry<LoadedBuffer>> buffers_;
};

}  // namespace anybpf::hooks
