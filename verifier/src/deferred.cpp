// SPDX-License-Identifier: Apache-2.0
// Work that runs later: work queues and task works in map values, whose functions may sleep (process_wq_func(),
// push_async_cb() of Linux 6.18).
#include "walker.hpp"

namespace anybpf::verifier {

// Whether what is walked may sleep: the program, or a function that runs by itself where it may.
bool Walker::sleepable() const {
    const Async async = state_.frames[0].async;
    return async == Async::no ? program_.sleepable : async != Async::timer;
}

// struct bpf_wq or struct bpf_task_work in a map's value.
bool Walker::deferred_argument(u32 index, FieldKind kind) {
    const Reg& at = reg(index);
    if (at.type == Type::map_value_or_null) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type != Type::map_value) return fail(Finding::kfunc_argument, index, insn().imm);
    const ValueField* field = at.value.is_constant() ? field_at(fields_of(at.object), kind, at.value.smin) : nullptr;
    if (field == nullptr) return fail(Finding::no_field, index, static_cast<i64>(kind));
    kfunc_.deferred = field;
    kfunc_.map = at.object;
    kfunc_.lookup = at.off;
    return true;
}

// The map beside it is the one that it lies in.
bool Walker::deferred_map(u32 index) {
    const Reg& at = reg(index);
    if (at.type != Type::map) return fail(Finding::kfunc_argument, index, insn().imm);
    if (kfunc_.deferred == nullptr || (kfunc_.map == at.object && kfunc_.lookup == at.off)) return true;
    return fail(Finding::work_of_other_map, index);
}

}  // namespace anybpf::verifier
