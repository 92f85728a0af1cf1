// SPDX-License-Identifier: Apache-2.0
#include "walker.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "anybpf/base/assert.hpp"
#include "anybpf/btf/btf.hpp"

namespace anybpf::verifier {

using isa::Kind;

namespace {
constexpr std::size_t max_pending = 8192;
constexpr std::size_t max_values = 32'000'000;  // nodes of the graph of values: some 400 MB
}  // namespace

Walker::Walker(const program::Program& program, const Options& options, const Structure& structure, Arena& arena,
               Report& report)
    : program_(program),
      options_(options),
      structure_(structure),
      report_(report),
      arena_(arena),
      values_(arena),
      pending_(arena),
      seen_(arena) {
    seen_at_.resize(program.insns.size());
    stack_use_.resize(structure.flow.starts.size());
    called_back_.resize(structure.flow.starts.size());
    report_.proof.insns.resize(program.insns.size());
    for (u32 id = 1; program.btf != nullptr && (program.funcs.size() > 1 || program.extends != nullptr) &&
                     id < program.btf->count();
         ++id)
        if (const btf::Type tag = program.btf->type(id);
            tag.kind == btf::Kind::decl_tag && tag.name.starts_with("arg:"))
            argument_tags_.push_back(id);
    state_.frames.push(arena_);
    reg(1) = Reg::pointer(Type::ctx);
    reg(10) = Reg::pointer(Type::stack);
}

bool Walker::fail(Finding what, i64 a, i64 b, i64 c) {
    report_.diagnostic = {what, Pc{pc_}, {a, b, c}, argument_};
    report_.state = print(state_, program_);
    return false;
}

bool Walker::readable(u32 index) {
    return seen(index).type != Type::uninit || fail(Finding::uninitialized_register, index);
}

void Walker::run() {
    const bool callback = structure_.exception_callback != 0;
    bool accepted = check_maps() && (!callback || check_exception_callback());
    pc_ = 0;
    accepted = accepted && (program_.extends == nullptr || begin_extension()) && walk();
    for (std::size_t i = 0; accepted && i < globals_.size(); ++i) accepted = begin_global(globals_[i]) && walk();
    report_.accepted = accepted && check_throws() && finish_stacks();
    report_.states = report_.peak_states = seen_.size();
    if (!report_.accepted) {
        append(message(report_.diagnostic, program_) + '\n');
        report_.proof = {};
    }
    append(statistics());
}

// All paths from the present state.
bool Walker::walk() {
    while (true) {
        Step result = report_.processed >= options_.max_insns || values_.count() > max_values
                          ? (fail(Finding::too_complex, static_cast<i64>(report_.processed)), Step::failed)
                          : Step::next;
        if (result == Step::next) {
            ++report_.processed;
            if (structure_.remember[pc_]) result = visit();
        }
        if (result == Step::next) result = step();
        if (result == Step::failed) return false;
        if (ended_ < pending_.size()) end_step();
        if (result == Step::next) {
            pc_ = next_;
            continue;
        }
        close_path();
        if (!resume()) return true;
    }
}

std::string Walker::statistics() const {
    return fmt::format(
        "processed {} insns (limit {}) max_states_per_insn {} total_states {} peak_states {} mark_read 0\n",
        report_.processed, options_.max_insns, report_.max_states_per_insn, report_.states, report_.peak_states);
}

// --------------------------------------------------------------------------------------------------- remembered states

// Whether the state, all of whose paths are walked, speaks for the present path: see Seen::loop.
bool Walker::usable(const Seen& seen) const {
    for (const Seen* at = &seen; at->loop >= 0;) {
        const Seen& loop = seen_[static_cast<u32>(at->loop)];
        if (loop.open > 0 && loop.iterator != 0) {
            const auto same = [&](const Reference& reference) { return reference.id == loop.iterator; };
            if (std::ranges::none_of(state_.references, same)) return false;
        } else if (loop.open > 0 && loop.may_goto) {
            if (state_.passed <= loop.passed) return false;
        } else if (loop.open > 0) {
            if (loop.depth > state_.depth() || state_.frames[loop.depth].activation != loop.activation) return false;
        }
        at = &loop;
    }
    return true;
}

Walker::Step Walker::visit() {
    const bool loop_call = structure_.rounds[pc_];
    const bool may_goto = form().kind == Kind::may_goto;
    const u32 iterator = iterator_ = form().kind == Kind::call ? iterator_here() : 0;
    const bool force = loop_call || may_goto || iterator != 0;
    bool add = force || remember_all || (jumps_since_ >= 2 && insns_since_ >= 8);
    const bool back = std::exchange(from_callback_, false);
    if (loop_call && !back) state_.frame().activation = next_id_++, state_.frame().rounds = 0;

    std::vector<Candidate>& list = seen_at_[pc_];
    const u32 call_site = std::as_const(state_).frame().call_site;
    for (std::size_t i = list.size(); i-- > 0;) {
        Candidate& candidate = list[i];
        if (candidate.call_site != call_site) continue;
        const bool differs = candidate.difference.again(state_);
        if (!candidate.closed || !differs) {
            Seen& seen = seen_[candidate.seen];
            const auto covers = [&](Comparison::How how) {
                return !differs &&
                       compare_.covers(seen.state.get(), state_, pc_, structure_.live, how, candidate.difference);
            };
            if (seen.open > 0) {
                // A state of the present path. Within one bpf_loop(), and after a may_goto has been passed, both of
                // which are bounded at run time, coming back into what it covers ends the path; elsewhere coming back
                // unchanged means that the loop need not end.
                const bool bounded = iterator != 0       ? seen.iterator == iterator
                                     : loop_call && back ? seen.state.get().frame().activation ==
                                                               std::as_const(state_).frame().activation
                                                         : may_goto && seen.passed < state_.passed;
                if (bounded && covers(Comparison::How::within)) {
                    ++candidate.hits;
                    return cut(candidate.seen, true) ? Step::path_end : Step::failed;
                }
                if (loop_call && back) {
                    // another round
                } else if (seen.state.get().rounds == state_.rounds && covers(Comparison::How::equal)) {
                    fail(Finding::infinite_loop, pc_);
                    return Step::failed;
                }
                // The rounds of a loop that is walked seldom help each other: remember fewer of them.
                if (!force && !remember_all && jumps_since_ < 20 && insns_since_ < 100) add = false;
            } else if (usable(seen)) {
                candidate.closed = true;
                if (compare_.covers(seen.kept, state_, candidate.difference)) {
                    ++candidate.hits;
                    return cut(candidate.seen, false) ? Step::path_end : Step::failed;
                }
            }
        }
        if (add && ++candidate.misses > candidate.hits * 3 + (force ? 16 : 3)) forget(list, i);
    }
    if (add) {
        if (loop_call && back) widen(state_, parent_);
        before_ = parent_;
        remember();
    }
    return Step::next;
}

// Ends the path at a state that covers it.
bool Walker::cut(u32 index, bool loop) {
    if (loop)
        inherit_marks(state_, pc_, structure_.live, values_);
    else
        inherit_marks(seen_[index].kept, state_, values_);
    // The states on the way from that loop's state to here now rest on it: on the innermost, if on several, for that
    // one lies on the way and rests on the next itself.
    i32 rests_on = loop ? static_cast<i32>(index) : seen_[index].loop;
    while (rests_on >= 0 && seen_[static_cast<u32>(rests_on)].open == 0)
        rests_on = seen_[static_cast<u32>(rests_on)].loop;
    if (rests_on < 0) return true;
    for (i32 at = parent_; at >= 0 && at != rests_on; at = seen_[static_cast<u32>(at)].parent) {
        i32& present = seen_[static_cast<u32>(at)].loop;
        if (present < rests_on || seen_[static_cast<u32>(present)].open == 0) present = rests_on;
    }
    return true;
}

void Walker::remember() {
    insns_since_ = jumps_since_ = 0;
    const std::size_t size = state_.bytes();
    if (seen_bytes_ + size > options_.max_state_bytes) return;
    seen_bytes_ += size;
    values_.pass_time();
    const Frame& frame = std::as_const(state_).frame();
    seen_.push(Shared<State>(arena_, state_), Kept(), static_cast<u32>(size), values_.now(), pc_, parent_, 1, -1,
               iterator_, state_.depth(), frame.activation, state_.passed, form().kind == Kind::may_goto);
    parent_ = static_cast<i32>(seen_.size()) - 1;
    seen_at_[pc_].push_back({.seen = static_cast<u32>(parent_), .call_site = frame.call_site, .difference = {}});
    report_.max_states_per_insn = std::max<u64>(report_.max_states_per_insn, seen_at_[pc_].size());
}

void Walker::forget(std::vector<Candidate>& list, std::size_t at) {
    Seen& seen = seen_[list[at].seen];
    seen_bytes_ -= seen.bytes;
    seen.state = {}, seen.kept = {};
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
}

void Walker::close_path() {
    for (i32 at = parent_; at >= 0; at = seen_[static_cast<u32>(at)].parent) {
        Seen& seen = seen_[static_cast<u32>(at)];
        if (--seen.open > 0) break;
        if (seen.state) close(seen);
    }
}

// All paths from it are walked: only what mattered is kept.
void Walker::close(Seen& seen) {
    seen.kept = Kept(seen.state.get(), seen.pc, seen.time, structure_.live, values_, arena_, draft_);
    seen.state = {};
    seen_bytes_ += std::size_t{seen.kept->bytes} - seen.bytes;
    seen.bytes = seen.kept->bytes;
}

bool Walker::resume() {
    if (pending_.size() == 0) return false;
    Pending& item = pending_.back();
    state_ = std::move(item.state);
    pc_ = item.pc;
    parent_ = item.parent;
    constexpr u64 enough = 1000;
    if (item.alone) insns_since_ = jumps_since_ = enough;
    values_.shrink(item.values);
    trod_ = item.trod;
    pending_.shrink(pending_.size() - 1);
    ended_ = pending_.size();
    from_callback_ = false;
    if (options_.log_level & 3) append(fmt::format("\nfrom earlier to {}: {}\n", pc_, print(state_, program_)));
    return true;
}

// The present state is set aside; what the other path has learnt is written to it within this step. Null: too many are.
State* Walker::fork(u32 pc) {
    if (pending_.size() >= max_pending) return fail(Finding::too_many_branches, max_pending), nullptr;
    if (parent_ >= 0) ++seen_[static_cast<u32>(parent_)].open;
    return &pending_.push(state_, pc, parent_, 0, trod_, false).state;
}

bool Walker::set_aside(State state, u32 pc) {
    if (pending_.size() >= max_pending) return fail(Finding::too_many_branches, max_pending);
    if (parent_ >= 0) ++seen_[static_cast<u32>(parent_)].open;
    pending_.push(std::move(state), pc, parent_, 0, trod_, false);
    return true;
}

// What was set aside in a step may hold any value that was made in it.
void Walker::end_step() {
    while (ended_ < pending_.size()) pending_[ended_++].values = values_.count();
}

// The same for a path that does not go on from the present one; its first state is remembered.
bool Walker::set_aside_alone(State state, u32 pc) {
    if (pending_.size() >= max_pending) return fail(Finding::too_many_branches, max_pending);
    pending_.push(std::move(state), pc, -1, 0, -1, true);
    return true;
}

// ------------------------------------------------------------------------------------------------------------- a step

Walker::Step Walker::step() {
    report_.proof.insns[pc_].reached = true;
    argument_ = 0;
    if (trail != nullptr) {
        trail->push_back({pc_, trod_});
        trod_ = static_cast<i32>(trail->size()) - 1;
    }
    if (observe) observe(pc_, state_);
    ++insns_since_;
    next_ = pc_ + isa::slots(insn());
    if (structure_.faulty[pc_]) {
        report_.diagnostic = *std::ranges::find(structure_.faults, Pc{pc_}, &Diagnostic::pc);
        return Step::failed;
    }
    if ((options_.log_level & 3) == 0) return execute();
    log_insn();
    const State before = state_;
    const Step result = execute();
    if (result == Step::next)
        log_effect(before);
    else
        append("\n");
    return result;
}

Walker::Step Walker::execute() {
    const auto outcome = [](bool good) { return good ? Step::next : Step::failed; };
    switch (form().kind) {
        case Kind::alu:
            return outcome(alu());
        case Kind::extend:
            return outcome(extend());
        case Kind::swap:
            return outcome(swap());
        case Kind::jump:
            ++jumps_since_;
            return jump();
        case Kind::ja:
        case Kind::gotol:
            ++jumps_since_;
            next_ = structure_.targets[pc_];
            return Step::next;
        case Kind::may_goto:
            ++jumps_since_;
            return outcome(may_goto());
        case Kind::packet_abs:
        case Kind::packet_ind:
            return outcome(packet_load());
        case Kind::call:
            ++jumps_since_;
            if (!call()) return Step::failed;
            return std::exchange(thrown_, false) ? Step::path_end : Step::next;
        case Kind::exit:
            ++jumps_since_;
            return leave();
        case Kind::load:
        case Kind::load_sx:
            return outcome(load());
        case Kind::store_imm:
        case Kind::store:
            return outcome(store());
        case Kind::atomic:
            return outcome(atomic());
        case Kind::wide:
            return outcome(wide(pc_));
        case Kind::cast:
            return outcome(cast());
        case Kind::gotox:
        case Kind::callx:
            return outcome(fail(Finding::unsupported_insn, insn().code));
    }
    return Step::failed;
}

bool Walker::wide(u32 pc) {
    const isa::Insn& first = program_.insns[pc];
    const isa::Insn& second = program_.insns[pc + 1];
    Reg& dst = reg(first.dst);
    switch (form().pseudo) {
        case isa::Pseudo::imm64:
            dst = constant(isa::wide_imm(first, second));
            return true;
        case isa::Pseudo::map_idx:
            dst = Reg::pointer(Type::map, static_cast<u32>(first.imm));
            return true;
        case isa::Pseudo::map_idx_value:
            if (map_of(static_cast<u32>(first.imm)).type == abi::MapType::arena) {
                dst = unknown();  // an address for user space
                return true;
            }
            dst = Reg::pointer(Type::map_value, static_cast<u32>(first.imm));
            dst.value = Number::constant(static_cast<u32>(second.imm));
            return true;
        case isa::Pseudo::func:
            dst = Reg::pointer(Type::function, static_cast<u32>(i64{pc} + 1 + first.imm));
            return true;
        case isa::Pseudo::btf_id:
            return load_symbol(static_cast<u32>(first.imm));
        case isa::Pseudo::map_fd:
        case isa::Pseudo::map_value:
            break;
    }
    return fail(Finding::bad_map_reference, first.imm);
}

// --------------------------------------------------------------------------------------------- calls of the program's

bool Walker::enter(State& state, u32 target, bool callback) {
    if (state.frames.size() >= abi::max_frames) return fail(Finding::too_many_frames, abi::max_frames);
    const u32 subprogram = *structure_.flow.starting_at(target);
    if (callback) called_back_[subprogram] = 1, ++state.rounds;
    const u8 depth = static_cast<u8>(state.frames.size());
    Frame& frame = state.frames.push(arena_);
    frame.subprogram = subprogram;
    frame.call_site = pc_;
    frame.callback = callback;
    frame.regs[10] = Reg::pointer(Type::stack);
    frame.regs[10].frame = depth;
    return true;
}

bool Walker::call_subprogram(u32 target) {
    const u32 subprogram = *structure_.flow.starting_at(target);
    if (const btf::Type function = global_function(subprogram); function.id != 0)
        return call_global(subprogram, function);
    const std::array<Reg, 11> arguments = state_.frame().regs;
    if (!enter(state_, target, false)) return false;
    for (u32 r = 1; r <= 5; ++r) reg(r) = arguments[r];
    Frame& caller = state_.frames[state_.frames.size() - 2];
    for (u32 r = 0; r <= 5; ++r) caller.regs[r] = {};
    next_ = target;
    return true;
}

Walker::Step Walker::leave() {
    // A called function may return nothing.
    const bool outermost = state_.depth() == 0;
    const bool returns =
        outermost ? state_.frame().subprogram != 0 || structure_.attach.returns : state_.frame().callback;
    if (returns && !readable(0)) return Step::failed;
    if (state_.frame().callback) return leave_callback();
    const Reg result = reg(0);
    if (outermost) {
        if (!sections_ended() || !check_released()) return Step::failed;
        if (const Async async = state_.frame().async; async != Async::no) {
            mark(result);
            const bool any = async == Async::task_work && result.is_scalar() && result.value.smin >= INT32_MIN &&
                             result.value.smax <= INT32_MAX;
            if (any || result.is_zero()) return Step::path_end;
            fail(Finding::timer_return, result.value.smin, result.value.smax);
            return Step::failed;
        }
        if (state_.frame().subprogram != 0 && !is_exception_callback()) {
            if (result.is_scalar()) return Step::path_end;
            fail(Finding::returns_pointer, static_cast<i64>(result.type));
            return Step::failed;
        }
        return returns_as_program(result) ? Step::path_end : Step::failed;
    }
    if (result.type == Type::stack) {
        fail(Finding::returns_pointer, static_cast<i64>(result.type));
        return Step::failed;
    }
    next_ = state_.frame().call_site + 1;
    state_.frames.pop_back();
    reg(0) = result;
    return Step::next;
}

bool Walker::returns_within(const Reg& result, i64 least, i64 most) {
    mark(result);
    if (result.is_scalar() && result.value.smin >= least && result.value.smax <= most) return true;
    return fail(Finding::return_range, least, most);
}

// Goes back to the call of bpf_loop(), as often as states are new there.
Walker::Step Walker::leave_callback() {
    const Reg& result = reg(0);
    mark(result);
    if (!result.is_scalar() || result.value.umax > 1) {
        fail(Finding::callback_return, result.value.smin, result.value.smax);
        return Step::failed;
    }
    next_ = state_.frame().call_site;
    state_.frames.pop_back();
    from_callback_ = true;
    return Step::next;
}

// The budget of a run is used up: that path first. The other one passes, which may happen any number of times: what a
// round changes is widened, so that the rounds converge.
//
// Why loops end: a run passes may_goto only so often; between two of these times it goes through the walked paths
// without passing. A path that was cut at an earlier one leads backwards, and must not lead back to where it was cut
// without passing. It is cut at an open state S only after it has passed since S. It is cut at a closed state T, from
// which S can be reached again, only if it has itself passed since S (usable()): so whoever comes from S without having
// passed walks on, and finds a loop that does not end, or its end.
bool Walker::may_goto() {
    State other = state_;
    ++other.passed, ++other.rounds;
    widen(other, before_);
    next_ = structure_.targets[pc_];
    return set_aside(std::move(other), pc_ + 1);
}

// A callback's round that changes a number which nothing depends on yet would change it in every round: such a number
// may be anything from now on, so that the rounds converge.
void Walker::widen(State& now, i32 from) {
    for (i32 at = from; at >= 0; at = seen_[static_cast<u32>(at)].parent) {
        const Seen& seen = seen_[static_cast<u32>(at)];
        if (seen.pc != pc_ || !seen.state) continue;
        const State& state = seen.state.get();
        if (state.depth() != now.depth() || state.frame().activation != std::as_const(now).frame().activation ||
            seen.iterator != iterator_)
            continue;
        const auto loosen = [&](const Reg& then, Reg& reg) {
            if (!then.is_scalar() || !reg.is_scalar() || then.value == reg.value) return;
            if (values_.decides(then.id) || values_.decides(reg.id)) return;
            reg = unknown();
        };
        for (std::size_t f = 0; f < now.frames.size(); ++f) {
            const Frame& then = state.frames[f];
            Frame& frame = now.frames[f];
            for (u32 r = 0; r < 10; ++r) loosen(then.regs[r], frame.regs[r]);
            for (std::size_t s = 0; s < std::min(then.stack.size(), frame.stack.size()); ++s) {
                Slot& slot = frame.stack[s];
                if (then.stack[s].saved_bytes() == 8 && slot.saved_bytes() == 8)
                    loosen(then.stack[s].saved, slot.saved);
            }
        }
        return;
    }
}

// -------------------------------------------------------------------------------------------------------------- the
// log

void Walker::append(std::string_view text) {
    if (options_.log_level == 0) return;
    report_.log += text;
    if (report_.log.size() > options_.max_log_bytes) {
        const std::size_t keep = report_.log.find('\n', report_.log.size() / 2);
        report_.log.erase(0, keep == std::string::npos ? report_.log.size() / 2 : keep + 1);
    }
}

void Walker::log_insn() {
    if (report_.processed == 1) append(fmt::format("0: {}\n", print(state_, program_)));
    if (program_.btf != nullptr) {
        const auto line = std::lower_bound(program_.lines.begin(), program_.lines.end(), pc_,
                                           [](const program::LineInfo& info, u32 pc) { return info.insn < pc; });
        if (line != program_.lines.end() && line->insn == pc_) {
            std::string_view source = program_.btf->string(line->line_off);
            std::string_view file = program_.btf->string(line->file_name_off);
            file.remove_prefix(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
            source.remove_prefix(std::min(source.find_first_not_of(" \t"), source.size()));
            append(fmt::format("; {} @ {}:{}\n", source, file, line->line()));
        }
    }
    if ((options_.log_level & 2) != 0) append(fmt::format("{}: {}\n", pc_, print(state_, program_)));
    append(fmt::format("{}: ({:02x}) {}", pc_, insn().code, print_insn(program_, pc_)));
}

void Walker::log_effect(const State& before) {
    const std::string changed = print(state_, program_, &before);
    append(changed.empty() ? "\n" : fmt::format(" ; {}\n", changed));
}

}  // namespace anybpf::verifier
