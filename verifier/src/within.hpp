// SPDX-License-Identifier: Apache-2.0
// Whether a machine is where the verifier has been: its registers and stacks are within one of the states that the
// walk saw at that instruction. The walk remembers nothing, so that it goes along every path.
#pragma once

#include <vector>

#include "machine.hpp"
#include "walker.hpp"

namespace anybpf::verifier::testing {

class Within final : public Machine::Observer {
  public:
    Within(const program::Program& program, const Structure& structure);

    // For Walker::observe.
    void add(u32 pc, const State& state) {
        at_[pc].push_back(static_cast<u32>(states_.size()));
        states_.push_back(state);
        pcs_.push_back(pc);
    }
    std::size_t size() const { return states_.size(); }

    // Before each run.
    void begin() { last_ = static_cast<u32>(-1), forget(); }
    bool at(Machine& machine, u32 pc) override;
    u64 checked() const { return checked_; }  // instructions
    std::string describe(const Machine& machine) const;

  private:
    // What has been compared already, and where neither side has changed since.
    struct Known {
        const Frame* frame = nullptr;
        std::array<const Slot*, 8> chunks{};
    };
    void forget() { known_ = {}; }
    bool holds(const State& state, const Machine& machine) const;
    bool holds(const Frame& frame, const Machine& machine, std::size_t depth) const;
    bool holds(const Slot& slot, const u8* bytes, const u8* written, const Machine& machine) const;
    bool holds(const Reg& reg, u64 value, const Machine& machine) const;

    const program::Program& program_;
    const Structure& structure_;
    std::vector<State> states_;
    std::vector<u32> pcs_;
    std::vector<std::vector<u32>> at_;  // by instruction, in the order of the walk
    u32 last_ = 0;                      // the state that the machine was in before
    u32 epoch_ = 0;
    u64 checked_ = 0;
    std::size_t depth_ = 0;
    u32 pc_ = 0;
    std::array<Known, abi::max_frames> known_{};
};

}  // namespace anybpf::verifier::testing
