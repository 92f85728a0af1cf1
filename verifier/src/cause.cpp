// SPDX-License-Identifier: Apache-2.0
#include "cause.hpp"

#include <algorithm>

#include "anybpf/abi/helper.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using isa::AluOp;
using isa::Kind;

namespace {

constexpr std::size_t max_steps = 4096;  // of the path's end, whose states are kept
constexpr std::size_t max_links = 8;

// What a state knew: of each frame the registers and the stack.
struct Known {
    std::vector<std::array<Reg, 11>> regs;
    std::vector<std::vector<Slot>> stacks;
};

Known know(const State& state) {
    Known known;
    for (const Frame& frame : state.frames) {
        known.regs.push_back(frame.regs);
        auto& stack = known.stacks.emplace_back();
        for (const Slot& slot : frame.stack) stack.push_back(slot);
    }
    return known;
}

struct Stop {
    u32 pc = 0;
    Known known;  // before the instruction
    u32 depth() const { return static_cast<u32>(known.regs.size()) - 1; }
};

// Refused for the length of the walk, not for anything on a path.
bool is_effort(Finding what) { return what == Finding::too_complex || what == Finding::too_many_branches; }

// The walk once more, for the steps of its last path, and once more for what was known at each of them.
struct Path {
    std::vector<Stop> stops;     // the last one is where it was refused
    std::vector<u32> steps;      // of the whole walk: the instructions
    std::vector<u32> stack_use;  // by subprogram
    bool begins = false;         // at the program's start, not later
    static Path walk(const Report& report, const program::Program& program, const Structure& structure);
};

Path Path::walk(const Report& report, const program::Program& program, const Structure& structure) {
    Options options = report.options;
    options.log_level = 0;
    Path path;
    std::vector<u32> way;  // the last path, as numbers of steps
    {
        std::vector<Walker::Trod> trail;
        Report again;
        Arena arena;
        Walker walker(program, options, structure, arena, again);
        walker.trail = &trail;
        walker.run();
        path.stack_use = walker.stack_use();
        path.steps.reserve(trail.size());
        for (const auto& step : trail) path.steps.push_back(step.pc);
        i32 at = walker.trail_end();
        for (; at >= 0 && way.size() < max_steps; at = trail[static_cast<u32>(at)].before)
            way.push_back(static_cast<u32>(at));
        path.begins = at < 0;
    }
    if (way.empty() || is_effort(report.diagnostic.what)) return path;
    std::reverse(way.begin(), way.end());

    Report again;
    Arena arena;
    Walker walker(program, options, structure, arena, again);
    u32 step = 0;
    walker.observe = [&, next = std::size_t{0}](u32 pc, const State& state) mutable {
        if (next < way.size() && way[next] == step++) path.stops.push_back({pc, know(state)}), ++next;
    };
    walker.run();
    return path;
}

// A register, or the slot of the stack from `at` on, of a frame.
struct Place {
    bool slot = false;
    u32 frame = 0;
    i32 at = 0;
};

bool limited_above(const Number& value) { return value.smax < i64{1} << 40 && value.smin <= value.smax; }
bool limited_below(const Number& value) { return value.smin > -(i64{1} << 40); }
bool limited(const Number& value) { return limited_above(value) && limited_below(value); }

class Slicer {
  public:
    Slicer(const Report& report, const program::Program& program, const Structure& structure, Path path)
        : diagnostic_(report.diagnostic), program_(program), structure_(structure), path_(std::move(path)) {}

    Explanation run();

  private:
    struct Found {
        std::size_t step;
        Cause cause;
    };

    // --- what stands where
    const std::vector<Stop>& stops() const { return path_.stops; }
    std::size_t end() const { return stops().size() - 1; }
    const isa::Insn& insn(std::size_t i) const { return program_.insns[stops()[i].pc]; }
    const isa::Form& form(std::size_t i) const { return structure_.forms[stops()[i].pc]; }
    const Reg& reg(std::size_t i, u32 frame, u32 r) const { return stops()[i].known.regs[frame][r]; }
    Slot slot(std::size_t i, u32 frame, i32 at) const {
        const auto& stacks = stops()[i].known.stacks;
        const std::size_t index = static_cast<std::size_t>((-at - 1) / 8);
        return frame < stacks.size() && index < stacks[frame].size() ? stacks[frame][index] : Slot{};
    }
    bool calls(std::size_t i) const { return form(i).kind == Kind::call && form(i).call == isa::CallKind::helper; }
    static i64 object_type(const Reg& value) {
        return i64{value.object} | (value.has(flag::own) ? own_type_argument : 0);
    }
    static i64 type(const Reg& value) { return static_cast<i64>(value.type); }

    void add(std::size_t step, Link what, i64 a = 0, i64 b = 0, i64 c = 0, i64 d = 0) {
        found_.push_back({step, {what, stops()[step].pc, {a, b, c, d, 0}}});
    }
    void add_range(std::size_t step, Link what, const Number& value, i64 a) {
        const auto [low, high] = bounds(value);
        add(step, what, a, low, high);
    }
    void add_range(std::size_t step, Link what, const Number& value, i64 a, i64 b) {
        const auto [low, high] = bounds(value);
        add(step, what, a, b, low, high);
    }
    void missing(Link what, i64 a = 0, i64 b = 0, i64 c = 0) {
        missing_.push_back({what, std::nullopt, {a, b, c, 0, 0}});
    }
    void name(std::size_t step) { out_.names.push_back(stops()[step].pc); }

    // --- backwards
    void follow(Place place, std::size_t from);
    bool define_reg(Place& place, std::size_t i);
    bool define_by_alu(Place& place, std::size_t i);
    bool define_by_load(Place& place, std::size_t i);
    bool define_by_call(Place& place, std::size_t i);
    bool define_slot(Place& place, std::size_t i);
    bool cross_frames(Place& place, std::size_t i, bool& crossed);
    void note_comparison(const Place& place, std::size_t i);
    bool writes_reg(std::size_t i, i32 r) const;
    std::optional<std::size_t> origin(Place place, std::size_t from) const;
    void find_other_copies(u32 subject);

    // --- by subject
    u32 subject() const;
    void explain_number(u32 r, bool as_size);
    void explain_pointer_bounds(u32 r, i64 limit, i64 size);
    void explain_packet(u32 r);
    void explain_null(u32 r);
    void explain_stack();
    void explain_held(u32 acquired, Link here, std::optional<Link> lacking, Mend mend);
    bool explain_locks_and_references();
    void explain_loop();
    void explain_effort();
    void explain_stack_chain();
    bool names_register() const { return verifier::names_register(diagnostic_.what); }
    u32 line(u32 pc) const;
    i64 next_access(u32 r) const;
    i64 bytes_of_line(u32 r) const;
    std::optional<std::size_t> find_packet_end();
    void mend_lost_packet(u32 r);
    void judge_bounds(u32 r, Mend low, Mend high, Mend both, i64 limit);
    void finish();

    const Diagnostic& diagnostic_;
    const program::Program& program_;
    const Structure& structure_;
    Path path_;
    Explanation out_;
    std::vector<Found> found_;
    std::vector<Cause> missing_;
    // Of the number that is followed: what it was before it was scaled, and the factor; where it comes from.
    std::optional<Number> root_;
    std::optional<Number> added_;  // what the number was when it moved an address
    i64 scale_ = 1;
    std::optional<std::size_t> origin_;
};

// ------------------------------------------------------------------------------------------------------- backwards

bool Slicer::writes_reg(std::size_t i, i32 r) const {
    const isa::Insn& at = insn(i);
    switch (form(i).kind) {
        case Kind::alu:
        case Kind::extend:
        case Kind::swap:
        case Kind::cast:
        case Kind::load:
        case Kind::load_sx:
        case Kind::wide:
            return at.dst == r;
        case Kind::atomic:
            switch (isa::row(form(i).atomic).form) {
                case isa::AtomicForm::load:
                    return at.dst == r;
                case isa::AtomicForm::fetch:
                case isa::AtomicForm::exchange:
                    return at.src == r;
                case isa::AtomicForm::compare_exchange:
                    return r == 0;
                case isa::AtomicForm::modify:
                case isa::AtomicForm::store:
                    return false;
            }
            return false;
        case Kind::call:
        case Kind::callx:
        case Kind::packet_abs:
        case Kind::packet_ind:
            return r <= 5;
        case Kind::jump:
        case Kind::ja:
        case Kind::gotol:
        case Kind::gotox:
        case Kind::exit:
        case Kind::may_goto:
        case Kind::store_imm:
        case Kind::store:
            return false;
    }
    return false;
}

// Follows a place from before step `from` back to where its contents come from.
void Slicer::follow(Place place, std::size_t from) {
    if (!place.slot && place.at == 10) return;  // the frame pointer is always there
    for (std::size_t i = from; i-- > 0 && found_.size() < 200;) {
        bool crossed = false;
        if (!cross_frames(place, i, crossed)) return;
        if (crossed || stops()[i].depth() != place.frame) {
            // Memory of a caller may be written from a called function, too.
            if (!crossed && place.slot && !define_slot(place, i)) return;
            continue;
        }
        if (place.slot ? !define_slot(place, i) : !define_reg(place, i)) return;
    }
    if (!path_.begins) return;
    if (place.slot) {
        const Slot at = slot(0, place.frame, place.at);
        if (at.bytes[0] == Byte::invalid && found_.empty()) return;
    } else if (place.frame == 0 && reg(0, 0, static_cast<u32>(place.at)).type != Type::uninit) {
        add(0, Link::starts, place.at, type(reg(0, 0, static_cast<u32>(place.at))));
    } else {
        add(0, Link::starts_empty, place.at);
    }
}

// Calls, returns and callbacks. False where the trace ends.
bool Slicer::cross_frames(Place& place, std::size_t i, bool& crossed) {
    const u32 before = stops()[i].depth(), after = stops()[i + 1].depth();
    if (before == after || place.slot) return true;
    if (after > before && place.frame == after) {
        crossed = true;
        if (place.at < 1 || place.at > 5) return add(i, Link::starts_empty, place.at), false;
        if (calls(i)) {  // a callback
            if (place.at == 1) return add_range(i, Link::round_number, Number::unknown(), 1), false;
            if (place.at > 2) return add(i, Link::starts_empty, place.at), false;
            add(i, Link::passed, 2, 3);
            place = {false, before, 3};
            return true;
        }
        add(i, Link::passed, place.at, place.at);
        place.frame = before;
        return true;
    }
    if (after > before && place.frame == before && place.at <= 5) {
        crossed = true;
        return add(i, Link::cleared_by_function, place.at), false;
    }
    if (after < before && place.frame == after && place.at == 0) {
        crossed = true;
        add(i, Link::given_back, 0);
        place.frame = before;
    }
    return true;
}

void Slicer::note_comparison(const Place& place, std::size_t i) {
    const auto r = static_cast<u32>(place.at);
    const Reg &before = reg(i, place.frame, r), &after = reg(i + 1, place.frame, r);
    const bool named = insn(i).dst == r || (form(i).by_register && insn(i).src == r);
    if (before.is_scalar() && after.is_scalar()) {
        if (!(before.value == after.value)) {
            if (!root_) root_ = after.value;
            add_range(i, Link::narrowed, after.value, place.at);
        } else if (named) {
            if (!root_) root_ = after.value;
            add_range(i, Link::not_narrowed, after.value, place.at);
        }
    } else if (may_be_null(before.type) && !may_be_null(after.type) && is_pointer(after.type)) {
        add(i, Link::checked_null, place.at);
    }
}

bool Slicer::define_reg(Place& place, std::size_t i) {
    if (form(i).kind == Kind::jump) note_comparison(place, i);
    if (!writes_reg(i, place.at)) {
        // A helper may take away what r6 to r9 hold.
        const auto r = static_cast<u32>(place.at);
        const Reg &before = reg(i, place.frame, r), &after = reg(i + 1, place.frame, r);
        const bool lost = is_pointer(before.type) && before.type != after.type && !is_pointer(after.type);
        if (lost && form(i).kind == Kind::call && form(i).call == isa::CallKind::kfunc)
            add(i, Link::released_by_kfunc, insn(i).imm, place.at);
        else if (calls(i) && lost)
            add(i, is_packet(before.type) || before.type == Type::packet_end ? Link::packet_moved : Link::released,
                insn(i).imm, place.at);
        return true;
    }
    switch (form(i).kind) {
        case Kind::alu:
        case Kind::extend:
        case Kind::swap:
        case Kind::cast:
            return define_by_alu(place, i);
        case Kind::load:
        case Kind::load_sx:
        case Kind::atomic:
            return define_by_load(place, i);
        case Kind::packet_abs:
        case Kind::packet_ind:
            origin_ = i;
            name(i);
            if (place.at == 0)
                add_range(i, Link::loaded_packet, reg(i + 1, place.frame, 0).value, 0);
            else
                add(i, Link::cleared_by_function, place.at);
            return false;
        case Kind::wide: {
            name(i);
            const Reg& value = reg(i + 1, place.frame, static_cast<u32>(place.at));
            if (value.is_scalar())
                add(i, Link::set, place.at, value.value.smin);
            else if (value.object < program_.maps.size() && form(i).pseudo != isa::Pseudo::func)
                add(i, Link::set_map, place.at, type(value), value.object);
            else
                add(i, Link::set_address, place.at, type(value));
            return false;
        }
        case Kind::call:
        case Kind::callx:
            return define_by_call(place, i);
        case Kind::jump:
        case Kind::ja:
        case Kind::gotol:
        case Kind::gotox:
        case Kind::exit:
        case Kind::may_goto:
        case Kind::store_imm:
        case Kind::store:
            break;
    }
    return true;
}

bool Slicer::define_by_alu(Place& place, std::size_t i) {
    const auto r = static_cast<u32>(place.at);
    const u32 frame = place.frame, src = insn(i).src;
    const bool mov = form(i).kind == Kind::alu && form(i).alu == AluOp::mov;
    const Reg& after = reg(i + 1, frame, r);
    if (mov && !form(i).by_register) {
        origin_ = i;
        name(i);
        return add(i, Link::set, r, after.value.smin), false;
    }
    if (mov || form(i).kind == Kind::extend) {
        const Reg& from = reg(i, frame, src);
        if (from.is_scalar() && after.is_scalar() && !(from.value == after.value)) {
            if (!root_) root_ = after.value;
            add_range(i, Link::cut_off, after.value, r, src);
        } else {
            add(i, Link::copied, r, src);
        }
        name(i);
        place.at = static_cast<i32>(src);
        return true;
    }
    if (form(i).kind == Kind::cast) {  // whatever it was before
        origin_ = i;
        name(i);
        return add(i, Link::cast, r, src, static_cast<i64>(after.type)), false;
    }
    if (form(i).kind != Kind::alu) {
        add_range(i, Link::computed, after.value, r);
        return true;
    }
    const Reg before = reg(i, frame, r);
    const Reg operand = form(i).by_register ? reg(i, frame, src) : Reg{};
    if (is_pointer(after.type)) {
        // The pointer itself, unless a number moves it that is not known.
        const bool number_is_dst = before.is_scalar();
        const Reg& number = number_is_dst ? before : operand;
        if (!form(i).by_register || !number.is_scalar() || number.is_constant()) {
            if (number_is_dst) place.at = static_cast<i32>(src);
            return true;
        }
        const auto [low, high] = bounds(number.value);
        if (!added_) added_ = number.value;
        add(i, Link::added, r, type(after), low, high);
        if (!number_is_dst) place.at = static_cast<i32>(src);
        return true;
    }
    if (is_pointer(before.type) || is_pointer(operand.type)) return add_range(i, Link::computed, after.value, r), false;
    if (before.is_scalar() && limited(before.value) && !limited(after.value)) {
        const auto [low, high] = bounds(before.value);
        const auto [now_low, now_high] = bounds(after.value);
        found_.push_back({i, {Link::computed_unbounded, stops()[i].pc, {r, low, high, now_low, now_high}}});
    } else {
        add_range(i, Link::computed, after.value, r);
    }
    if (!form(i).by_register && form(i).alu == AluOp::lsh && insn(i).imm < 31)
        scale_ <<= insn(i).imm;
    else if (!form(i).by_register && form(i).alu == AluOp::mul && insn(i).imm > 0)
        scale_ *= insn(i).imm;
    else
        root_ = root_ ? root_ : std::optional(after.value);
    scale_ = std::min(scale_, i64{1} << 32);
    // Of two numbers the one of which less is known.
    if (form(i).by_register && src != r && !operand.is_constant() &&
        (before.is_constant() || (limited(before.value) && !limited(operand.value))))
        place.at = static_cast<i32>(src);
    return true;
}

bool Slicer::define_by_load(Place& place, std::size_t i) {
    const auto r = static_cast<u32>(place.at);
    const u32 frame = place.frame;
    const bool fetches = form(i).kind == Kind::atomic && isa::row(form(i).atomic).form != isa::AtomicForm::load;
    const Reg& base = reg(i, frame, fetches ? insn(i).dst : insn(i).src);
    const Reg& after = reg(i + 1, frame, r);
    const u32 size = isa::bytes(form(i).width);
    origin_ = i;
    name(i);
    if (base.type == Type::stack && base.value.is_constant() && !fetches) {
        const i64 offset = base.value.smin + insn(i).off;
        if (offset < -i64{abi::max_stack_size} || offset >= 0) return false;
        const auto at = static_cast<i32>(offset & ~i64{7});
        const Slot from = slot(i, base.frame, at);
        if (at == offset && from.saved_bytes() == size)
            add(i, Link::filled, r, offset);
        else
            add_range(i, Link::loaded_bytes, after.value, r, offset);
        place = {true, base.frame, at};
        return true;
    }
    if (after.type == Type::btf) return add(i, Link::loaded_object, r, type(base), object_type(after)), false;
    if (is_pointer(after.type)) return add(i, Link::loaded_pointer, r, type(base), type(after)), false;
    if (base.type == Type::map_value && base.object < program_.maps.size())
        add_range(i, Link::loaded_map, after.value, r, base.object);
    else if (base.type == Type::packet)
        add_range(i, Link::loaded_packet, after.value, r);
    else
        add_range(i, Link::loaded, after.value, r, type(base));
    return false;
}

bool Slicer::define_by_call(Place& place, std::size_t i) {
    const Reg& after = reg(i + 1, place.frame, static_cast<u32>(place.at));
    const u32 helper = static_cast<u32>(insn(i).imm);
    if (form(i).call == isa::CallKind::kfunc && place.at == 0 && after.type != Type::uninit) {
        origin_ = i;
        name(i);
        const bool object = after.type == Type::btf;
        add(i,
            !object              ? Link::returned_by_kfunc
            : may_be_null(after) ? Link::returned_object_or_null
                                 : Link::returned_object,
            0, helper, object ? object_type(after) : 0);
        return false;
    }
    if (!calls(i)) return add(i, Link::cleared_by_function, place.at), false;
    if (place.at != 0) {
        add(i, Link::cleared, place.at, helper);
        return false;
    }
    origin_ = i;
    name(i);
    if (after.type == Type::uninit)
        add(i, Link::no_result, 0, helper);
    else if (after.is_scalar())
        add_range(i, Link::returned, after.value, 0, helper);
    else if ((after.type == Type::map_value || after.type == Type::map_value_or_null) &&
             after.object < program_.maps.size())
        add(i, Link::returned_value, 0, helper, type(after), after.object);
    else
        add(i, Link::returned_pointer, 0, helper, type(after));
    return false;
}

bool Slicer::define_slot(Place& place, std::size_t i) {
    const Slot before = slot(i, place.frame, place.at), after = slot(i + 1, place.frame, place.at);
    const bool same = before.bytes == after.bytes && before.saved == after.saved;
    const Kind kind = form(i).kind;
    if (kind == Kind::store || kind == Kind::store_imm) {
        const Reg& base = reg(i, stops()[i].depth(), insn(i).dst);
        const i64 offset = base.value.smin + insn(i).off;
        const i64 size = isa::bytes(form(i).width);
        if (base.type != Type::stack || base.frame != place.frame) return true;
        if (!base.value.is_constant()) return same || (add(i, Link::written, place.at, size), true);
        if ((offset & ~i64{7}) != place.at) return true;
        if (before.has_pointer() && !(size == 8)) return add(i, Link::overwritten, place.at, size), true;
        if (kind == Kind::store && offset == place.at && after.saved_bytes() == static_cast<u32>(size)) {
            add(i, Link::spilled, insn(i).src, place.at, size);
            place = {false, stops()[i].depth(), insn(i).src};
            return true;
        }
        add(i, Link::written, offset, size);
        return size != 8;
    }
    if (same) return true;
    if (kind == Kind::jump) {
        if (before.saved.is_scalar() && !(before.saved.value == after.saved.value) && !root_) root_ = after.saved.value;
        return true;
    }
    if (calls(i)) {
        if (before.has_pointer() && (is_packet(before.saved.type) || before.saved.type == Type::packet_end))
            return add(i, Link::packet_moved, insn(i).imm), true;
        return add(i, Link::helper_wrote, place.at, insn(i).imm), true;
    }
    return true;
}

// The step at which the value that the place has before `from` was made, through copies and arithmetic with constants.
std::optional<std::size_t> Slicer::origin(Place place, std::size_t from) const {
    for (std::size_t i = from; i-- > 0;) {
        if (stops()[i].depth() != stops()[i + 1].depth()) return std::nullopt;
        if (stops()[i].depth() != place.frame) continue;
        if (place.slot) {
            if (form(i).kind != Kind::store) continue;
            const Reg& base = reg(i, place.frame, insn(i).dst);
            if (base.type != Type::stack || base.frame != place.frame || base.value.smin + insn(i).off != place.at)
                continue;
            place = {false, place.frame, insn(i).src};
            continue;
        }
        if (!writes_reg(i, place.at)) continue;
        if (form(i).kind == Kind::load) {
            const Reg& base = reg(i, place.frame, insn(i).src);
            if (base.type != Type::stack || base.frame != place.frame || !base.value.is_constant()) return i;
            place = {true, place.frame, static_cast<i32>(base.value.smin + insn(i).off)};
            continue;
        }
        const bool copies = form(i).kind == Kind::extend || (form(i).kind == Kind::alu && form(i).alu == AluOp::mov);
        if (form(i).kind == Kind::extend || (copies && form(i).by_register))
            place.at = insn(i).src;
        else if (form(i).kind != Kind::alu || copies || form(i).by_register)
            return i;
    }
    return std::nullopt;
}

// Comparisons of other copies of the number, which the verifier could not connect with it.
void Slicer::find_other_copies(u32 subject) {
    if (!origin_) return;
    for (std::size_t i = *origin_ + 1; i < end(); ++i) {
        if (form(i).kind != Kind::jump || stops()[i].depth() != stops()[end()].depth()) continue;
        const u32 r = insn(i).dst, frame = stops()[i].depth();
        const Reg &before = reg(i, frame, r), &after = reg(i + 1, frame, r);
        if (!before.is_scalar() || !after.is_scalar() || before.value == after.value) continue;
        const bool known = std::any_of(found_.begin(), found_.end(), [&](const Found& f) { return f.step == i; });
        if (!known && origin({false, frame, static_cast<i32>(r)}, i) == origin_) add(i, Link::other_copy, r, subject);
    }
}

// ------------------------------------------------------------------------------------------------------- by subject

// The register that the instruction accesses memory by, or the argument looked at; r0 at an exit.
u32 Slicer::subject() const {
    if (diagnostic_.argument != 0) return diagnostic_.argument;
    const std::size_t i = end();
    switch (form(i).kind) {
        case Kind::load:
        case Kind::load_sx:
            return insn(i).src;
        case Kind::atomic:
            return isa::row(form(i).atomic).form == isa::AtomicForm::load ? insn(i).src : insn(i).dst;
        case Kind::exit:
            return 0;
        case Kind::packet_abs:
        case Kind::packet_ind:
            return 6;
        case Kind::alu:
        case Kind::extend:
        case Kind::swap:
        case Kind::cast:
        case Kind::jump:
        case Kind::ja:
        case Kind::gotol:
        case Kind::gotox:
        case Kind::call:
        case Kind::callx:
        case Kind::may_goto:
        case Kind::store_imm:
        case Kind::store:
        case Kind::wide:
            break;
    }
    return insn(i).dst;
}

// What is missing of the bounds of the number that was followed, and the check that would give them.
void Slicer::judge_bounds(u32 r, Mend low, Mend high, Mend both, i64 limit) {
    const Number root = root_.value_or(added_.value_or(Number::unknown()));
    const bool above = limited_above(root);
    const bool below = root.smin >= 0;
    const i64 most = limit < 0 ? 0 : limit / scale_;
    if (!below && !above)
        missing(Link::no_bounds, r), out_.mend = both;
    else if (!below)
        missing(Link::no_lower_bound, r), out_.mend = root.smax > most ? both : low;
    else if (!above)
        missing(Link::no_upper_bound, r), out_.mend = high;
    else {
        const auto [least, greatest] = bounds(root);
        missing(Link::loose_bound, r, least, greatest), out_.mend = high;
    }
    if (limit < 0) out_.mend = !below ? Mend::lower : Mend::none;
    out_.numbers[0] = most;
}

void Slicer::explain_number(u32 r, bool as_size) {
    const Reg& value = reg(end(), stops()[end()].depth(), r);
    if (!value.is_scalar()) return follow({false, stops()[end()].depth(), static_cast<i32>(r)}, end());
    follow({false, stops()[end()].depth(), static_cast<i32>(r)}, end());
    if (!root_) root_ = value.value;
    find_other_copies(r);
    if (!as_size) return;
    if (diagnostic_.what == Finding::zero_size) {
        out_.mend = Mend::at_least_one;
        return;
    }
    // As much as the memory before it has.
    i64 limit = -1;
    if (r > 1) {
        const Reg& memory = reg(end(), stops()[end()].depth(), r - 1);
        if (memory.type == Type::stack && memory.value.is_constant())
            limit = -memory.value.smin;
        else if (memory.type == Type::map_value && memory.object < program_.maps.size())
            limit = program_.maps[memory.object].value_size - memory.value.smax;
        else if (memory.type == Type::record)
            limit = memory.object - memory.value.smax;
    }
    const bool is_unsigned = limit > 0;
    judge_bounds(r, Mend::lower, Mend::clamp, is_unsigned ? Mend::clamp : Mend::clamp_signed, limit);
}

// An address that a number has moved, or that is used with a size that is a number.
void Slicer::explain_pointer_bounds(u32 r, i64 limit, i64 size) {
    const u32 frame = stops()[end()].depth();
    const Reg& base = reg(end(), frame, r);
    // A helper's memory: the size may be what reaches too far.
    if (calls(end()) && is_pointer(base.type) && base.value.is_constant() && r < 5 &&
        reg(end(), frame, r + 1).is_scalar() && !reg(end(), frame, r + 1).is_constant()) {
        out_.reg = r + 1;
        out_.argument = r + 1;
        follow({false, frame, static_cast<i32>(r + 1)}, end());
        if (!root_) root_ = reg(end(), frame, r + 1).value;
        find_other_copies(r + 1);
        judge_bounds(r + 1, Mend::lower, Mend::clamp, Mend::clamp, limit - base.value.smax);
        return;
    }
    const bool adds = form(end()).kind == Kind::alu;  // refused where the number is added
    const bool operand = adds && form(end()).by_register && base.type != Type::scalar;
    const u32 number = operand ? insn(end()).src : r;
    out_.reg = number;
    follow({false, frame, static_cast<i32>(number)}, end());
    if (!root_ && reg(end(), frame, number).is_scalar()) root_ = reg(end(), frame, number).value;
    find_other_copies(number);
    // Nothing moves the address but constants: there is nothing to check.
    if (!adds && base.value.is_constant()) return;
    const i64 start = adds && is_pointer(base.type) ? base.value.smax : 0;
    judge_bounds(number, Mend::lower, Mend::upper, Mend::both, limit < 0 ? -1 : limit - start - size);
}

void Slicer::explain_null(u32 r) {
    follow({false, stops()[end()].depth(), static_cast<i32>(r)}, end());
    missing(Link::no_null_check, r);
    out_.mend = Mend::null_check;
}

// What comparisons have shown of the packet, and what made it void.
void Slicer::explain_packet(u32 r) {
    const u32 frame = stops()[end()].depth();
    const Reg base = reg(end(), frame, r);
    follow({false, frame, static_cast<i32>(r)}, end());
    std::optional<std::size_t> shown, moved;
    u32 range = 0;
    for (std::size_t i = 0; i < end(); ++i) {
        if (calls(i)) {
            const auto* proto = abi::find_helper(static_cast<u32>(insn(i).imm));
            if (proto != nullptr && proto->packet == abi::PacketUse::moved) moved = i;
        }
        if (form(i).kind != Kind::jump) continue;
        u32 before = 0, after = 0;
        for (u32 k = 0; k < 10; ++k) {
            const Reg &old = reg(i, stops()[i].depth(), k), &now = reg(i + 1, stops()[i].depth(), k);
            if (is_packet(old.type)) before = std::max(before, old.object);
            if (is_packet(now.type)) after = std::max(after, now.object);
        }
        if (after > before) shown = i, range = after;
    }
    if (shown) add(*shown, Link::shown, 0, range);
    if (moved) add(*moved, Link::packet_moved, insn(*moved).imm);
    if (moved && (!shown || *moved > *shown))
        missing(Link::no_check_since);
    else if (!shown)
        missing(Link::no_packet_check);
    const auto end_at = find_packet_end();
    out_.mend = moved && end_at && *end_at < *moved ? Mend::packet_again : Mend::packet_check;
    out_.numbers[0] = i64{base.off} + (calls(end()) ? diagnostic_.args[1] : bytes_of_line(r));
}

// Where this path takes the packet's end from, the last time.
std::optional<std::size_t> Slicer::find_packet_end() {
    for (std::size_t i = end(); i-- > 0;)
        if (form(i).kind == Kind::load && stops()[i + 1].depth() == stops()[i].depth() &&
            reg(i + 1, stops()[i].depth(), insn(i).dst).type == Type::packet_end) {
            out_.end_name = stops()[i].pc;
            return i;
        }
    return std::nullopt;
}

// An address in the packet that a helper made worthless.
void Slicer::mend_lost_packet(u32 r) {
    const auto lost =
        std::find_if(found_.begin(), found_.end(), [](const Found& f) { return f.cause.what == Link::packet_moved; });
    if (lost == found_.end()) return;
    const Reg& before = reg(lost->step, stops()[lost->step].depth(), r);
    out_.mend = Mend::packet_again;
    out_.numbers[0] = (is_packet(before.type) ? i64{before.off} : 0) + bytes_of_line(r);
    find_packet_end();
}

u32 Slicer::line(u32 pc) const {
    const auto at = std::upper_bound(program_.lines.begin(), program_.lines.end(), pc,
                                     [](u32 a, const program::LineInfo& info) { return a < info.insn; });
    return at == program_.lines.begin() ? 0U : (at - 1)->line();
}

// How far from the address in r the source line reads or writes that was refused: the compiler may have made several
// accesses of it, and the first one alone would tell of too few bytes.
i64 Slicer::bytes_of_line(u32 r) const {
    i64 most = 1;
    const u32 here = stops()[end()].pc;
    for (u32 pc = here; pc < program_.insns.size() && pc < here + 64; pc += isa::slots(program_.insns[pc])) {
        const isa::Form& at = structure_.forms[pc];
        const bool reads = at.kind == Kind::load || at.kind == Kind::load_sx;
        const bool writes = at.kind == Kind::store || at.kind == Kind::store_imm;
        if (at.kind == Kind::call) break;
        if ((!reads && !writes) || (pc != here && line(pc) != line(here))) continue;
        if ((reads ? program_.insns[pc].src : program_.insns[pc].dst) == r)
            most = std::max(most, i64{program_.insns[pc].off} + isa::bytes(at.width));
    }
    return most;
}

// How far the next access by the register reaches from the address in it.
i64 Slicer::next_access(u32 r) const {
    const u32 here = stops()[end()].pc;
    for (u32 pc = here + 1; pc < program_.insns.size() && pc < here + 16; pc += isa::slots(program_.insns[pc])) {
        const isa::Form& at = structure_.forms[pc];
        const bool reads = at.kind == Kind::load || at.kind == Kind::load_sx;
        const bool writes = at.kind == Kind::store || at.kind == Kind::store_imm || at.kind == Kind::atomic;
        if ((reads && program_.insns[pc].src == r) || (writes && program_.insns[pc].dst == r))
            return i64{program_.insns[pc].off} + isa::bytes(at.width);
    }
    return 1;
}

void Slicer::explain_stack() {
    const i64 low = diagnostic_.args[0], size = std::min<i64>(diagnostic_.args[1], abi::max_stack_size);
    const u32 r = subject();
    const u32 frame = reg(end(), stops()[end()].depth(), r).type == Type::stack
                          ? reg(end(), stops()[end()].depth(), r).frame
                          : stops()[end()].depth();
    i64 empty = 0, first = 0;
    for (i64 at = low + size; at-- > low;) {
        const Slot there = slot(end(), frame, static_cast<i32>(at & ~i64{7}));
        if (there.bytes[static_cast<std::size_t>(at & 7)] != Byte::invalid) continue;
        ++empty;
        first = at;
    }
    for (i64 at = low & ~i64{7}; at < low + size && found_.size() < max_links; at += 8)
        follow({true, frame, static_cast<i32>(at)}, end());
    const bool destroyed =
        std::any_of(found_.begin(), found_.end(), [](const Found& f) { return f.cause.what == Link::overwritten; });
    if (destroyed) {
        out_.mend = Mend::keep_apart;
        return;
    }
    std::erase_if(found_, [](const Found& f) {
        return f.cause.what != Link::written && f.cause.what != Link::spilled && f.cause.what != Link::helper_wrote &&
               f.cause.what != Link::packet_moved;
    });
    for (Found& f : found_)
        if (f.cause.what == Link::spilled) f.cause = {Link::written, f.cause.pc, {f.cause.args[1], f.cause.args[2]}};
    if (empty > 0) missing(Link::never_written, first, empty);
    out_.mend = Mend::clear;
}

// What was acquired at an instruction is held still, or lost.
void Slicer::explain_held(u32 acquired, Link here, std::optional<Link> lacking, Mend mend) {
    std::size_t from = end();
    while (from > 0 && stops()[from].pc != acquired) --from;
    if (stops()[from].pc != acquired) return;
    add(from, here);
    name(from);
    for (std::size_t i = from + 1; i < end(); ++i) {
        if (form(i).kind != Kind::jump) continue;
        const u32 frame = stops()[i].depth(), r = insn(i).dst;
        if (may_be_null(reg(i, frame, r).type) && !may_be_null(reg(i + 1, frame, r).type)) continue;
        if (stops()[i + 1].pc == stops()[i].pc + 1)
            add(i, Link::branch_not_taken);
        else
            add(i, Link::branch_taken, stops()[i + 1].pc);
    }
    if (lacking) missing(*lacking);
    out_.mend = mend;
}

bool Slicer::explain_locks_and_references() {
    static constexpr struct {
        Finding what;
        std::size_t acquired;  // which argument of the finding says where
        Link here;
        std::optional<Link> lacking;
        Mend mend;
    } rows[] = {
        {Finding::record_leak, 0, Link::acquired, Link::not_released, Mend::discard},
        {Finding::reference_leak, 0, Link::acquired_socket, Link::socket_not_released, Mend::none},
        {Finding::lock_held_at_end, 0, Link::locked, Link::not_unlocked, Mend::unlock},
        {Finding::lock_held_call, 1, Link::locked, std::nullopt, Mend::none},
        {Finding::other_lock, 0, Link::locked, std::nullopt, Mend::unlock},
    };
    for (const auto& row : rows) {
        if (row.what != diagnostic_.what) continue;
        explain_held(static_cast<u32>(diagnostic_.args[row.acquired]), row.here, row.lacking, row.mend);
        return true;
    }
    return false;
}

// The rounds are alike: what could end them, and what that is in each.
void Slicer::explain_loop() {
    const u32 head = diagnostic_.pc.v;
    std::size_t from = end();
    while (from > 0 && stops()[from].pc != head) --from;
    if (stops()[from].pc != head) return;
    bool ends = false;
    u32 low = head, high = head;
    for (std::size_t i = from; i <= end(); ++i)
        low = std::min(low, stops()[i].pc), high = std::max(high, stops()[i].pc);
    for (std::size_t i = from; i <= end(); ++i) {
        const u32 next = i < end() ? stops()[i + 1].pc : head;
        if (next <= stops()[i].pc && form(i).kind != Kind::exit) add(i, Link::loop_back, next);
    }
    for (std::size_t i = from; i <= end(); ++i) {
        if (form(i).kind != Kind::jump) continue;
        const i64 target = program::jump_target(program_.insns, stops()[i].pc).value_or(0);
        if (target >= low && target <= high && stops()[i].pc + 1 <= high) continue;
        ends = true;
        const Reg& value = reg(i, stops()[i].depth(), insn(i).dst);
        if (value.is_scalar())
            add_range(i, Link::loop_end, value.value, insn(i).dst);
        else
            add(i, Link::loop_end_pointer, insn(i).dst, type(value));
    }
    if (!ends) missing(Link::no_loop_end);
    out_.mend = Mend::count_rounds;
}

// Where the effort went: the jump that led backwards most often.
void Slicer::explain_effort() {
    std::vector<u32> count(program_.insns.size());
    for (const u32 pc : path_.steps) ++count[pc];
    std::optional<u32> back;
    u32 most = 0;
    for (u32 pc = 0; pc < program_.insns.size(); pc += isa::slots(program_.insns[pc])) {
        const auto target = program::jump_target(program_.insns, pc);
        if (!target || *target > pc || count[pc] < most || count[pc] == 0) continue;
        most = count[pc];
        back = pc;
    }
    const u32 here = diagnostic_.pc.v;
    if (diagnostic_.what == Finding::too_many_branches)
        out_.causes.push_back({Link::both_ways, here, {diagnostic_.args[0]}});
    if (!back) return;
    const auto target = static_cast<u32>(*program::jump_target(program_.insns, *back));
    out_.causes.push_back({Link::walked, target, {count[target], static_cast<i64>(path_.steps.size())}});
    if (*back != here || diagnostic_.what != Finding::too_many_branches)
        out_.causes.push_back({Link::loop_back, *back, {target}});
    // The number of rounds, where a comparison with a constant ends them.
    for (u32 pc = target; pc <= *back; pc += isa::slots(program_.insns[pc])) {
        const isa::Form& at = structure_.forms[pc];
        if (at.kind != Kind::jump || at.by_register) continue;
        const auto to = program::jump_target(program_.insns, pc).value_or(0);
        const bool leaves = to < target || to > *back || pc == *back;
        if (leaves && program_.insns[pc].imm > 64)
            out_.numbers[0] = std::max<i64>(out_.numbers[0], program_.insns[pc].imm);
    }
    out_.mend = Mend::loop_helper;
}

// The chain of calls that needs most, up to the refused call.
void Slicer::explain_stack_chain() {
    const auto size = [&](u32 sub) { return (path_.stack_use[sub] + 15) & ~15U; };
    const auto& flow = structure_.flow;
    u32 sub = flow.subprogram_of(diagnostic_.pc.v);
    std::vector<Cause> causes;
    u32 target = 0;
    for (const auto& call : flow.calls)
        if (call.insn == diagnostic_.pc.v) target = call.target;
    if (diagnostic_.what == Finding::tail_call_stack) causes.push_back({Link::tail_calls, target, {target}});
    if (const auto callee = flow.starting_at(target); callee && diagnostic_.what == Finding::stack_too_deep)
        causes.push_back({Link::frame_size, target, {target, size(*callee)}});
    for (u32 round = 0; round < abi::max_frames; ++round) {
        const u32 start = flow.starts[sub];
        causes.push_back({Link::frame_size, start, {start, size(sub)}});
        if (sub == 0) break;
        // Of its callers the one with most.
        std::optional<u32> caller;
        for (const auto& call : flow.calls) {
            const u32 from = flow.subprogram_of(call.insn);
            if (call.target == start && (!caller || path_.stack_use[from] > path_.stack_use[*caller])) caller = from;
        }
        if (!caller) break;
        sub = *caller;
    }
    std::reverse(causes.begin(), causes.end());
    out_.causes = std::move(causes);
}

void Slicer::finish() {
    // Found backwards, also within one step.
    std::reverse(found_.begin(), found_.end());
    std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) { return a.step < b.step; });
    // Each instruction once, as it was the last time.
    std::vector<Found> unique;
    for (std::size_t i = 0; i < found_.size(); ++i) {
        const auto again = std::find_if(
            found_.begin() + static_cast<std::ptrdiff_t>(i) + 1, found_.end(),
            [&](const Found& f) { return f.cause.pc == found_[i].cause.pc && f.cause.what == found_[i].cause.what; });
        if (again == found_.end()) unique.push_back(found_[i]);
    }
    // What only hands the value on is left out first, then what is furthest away.
    const auto dull = [](const Found& f) {
        return f.cause.what == Link::copied || f.cause.what == Link::passed || f.cause.what == Link::given_back ||
               f.cause.what == Link::not_narrowed;
    };
    while (unique.size() + missing_.size() > max_links) {
        const auto next = std::find_if(unique.begin(), unique.end(), dull);
        unique.erase(next != unique.end() ? next : unique.begin() + (unique.size() > 1 ? 1 : 0));
    }
    for (const Found& f : unique) out_.causes.push_back(f.cause);
    out_.causes.insert(out_.causes.end(), missing_.begin(), missing_.end());
}

Explanation Slicer::run() {
    out_.argument = diagnostic_.argument;
    const Finding what = diagnostic_.what;
    if (is_effort(what)) {
        explain_effort();
        return std::move(out_);
    }
    if (what == Finding::stack_too_deep || what == Finding::tail_call_stack) {
        explain_stack_chain();
        return std::move(out_);
    }
    if (stops().empty()) return std::move(out_);
    out_.in_function = stops()[end()].depth() > 0;
    if (what == Finding::infinite_loop) {
        explain_loop();
        finish();
        return std::move(out_);
    }
    if (stops().back().pc != diagnostic_.pc.v) return std::move(out_);
    if (explain_locks_and_references()) {
        finish();
        return std::move(out_);
    }
    const u32 frame = stops()[end()].depth();
    const u32 r = std::min(names_register() ? static_cast<u32>(diagnostic_.args[0]) : subject(), 10U);
    const Reg& value = reg(end(), frame, r);
    // What is refused of a call as a whole is about no register; the context needs no history.
    if (form(end()).kind == Kind::call && diagnostic_.argument == 0 && !names_register()) return std::move(out_);
    out_.reg = r;
    if (what == Finding::out_of_context || what == Finding::context_write || what == Finding::context_write_field) {
        out_.known = value;
        return std::move(out_);
    }
    const auto size_of = [&](const Reg& pointer) -> i64 {
        if (pointer.type == Type::map_value && pointer.object < program_.maps.size())
            return program_.maps[pointer.object].value_size;
        return pointer.type == Type::record ? i64{pointer.object} : -1;
    };
    if (what == Finding::uninitialized_stack)
        explain_stack(), out_.reg.reset();
    else if (what == Finding::out_of_packet)
        explain_packet(r);
    else if (what == Finding::maybe_null || what == Finding::arithmetic_maybe_null)
        explain_null(r);
    else if (what == Finding::unbounded_size || what == Finding::zero_size || what == Finding::size_not_constant)
        explain_number(r, true);
    else if (what == Finding::return_range || what == Finding::callback_return) {
        explain_number(0, false);
        const auto most = what == Finding::return_range ? diagnostic_.args[1] : 1;
        const auto least = what == Finding::return_range ? diagnostic_.args[0] : 0;
        if (value.is_scalar() && !value.is_constant() && least == 0) out_.mend = Mend::clamp, out_.numbers[0] = most;
    } else if (what == Finding::out_of_map_value || what == Finding::out_of_record)
        explain_pointer_bounds(r, diagnostic_.args[2], calls(end()) ? 0 : diagnostic_.args[1]);
    else if (what == Finding::pointer_offset)
        explain_pointer_bounds(r, size_of(value), next_access(r));
    else if (what == Finding::unbounded_stack || what == Finding::out_of_stack)
        explain_pointer_bounds(r, -1, 0);
    else {
        follow({false, frame, static_cast<i32>(r)}, end());
        mend_lost_packet(r);
        if (what == Finding::wrong_map_type) out_.mend = Mend::map_type;
        if (what == Finding::not_a_pointer &&
            std::any_of(found_.begin(), found_.end(), [](const Found& f) { return f.cause.what == Link::overwritten; }))
            out_.mend = Mend::keep_apart;
        if (what == Finding::not_a_pointer && std::any_of(found_.begin(), found_.end(), [](const Found& f) {
                return f.cause.what == Link::released || f.cause.what == Link::released_by_kfunc;
            }))
            out_.mend = Mend::before_release;
    }
    if (out_.reg == 10U) out_.reg.reset();
    if (out_.reg) out_.known = reg(end(), frame, *out_.reg);
    finish();
    return std::move(out_);
}

}  // namespace

std::pair<i64, i64> bounds(const Number& value) { return {value.smin, value.smax}; }

Explanation trace(const Report& report, const program::Program& program) {
    Structure structure;
    if (report.accepted || report.diagnostic.what == Finding::none || analyse(program, structure)) return {};
    return Slicer(report, program, structure, Path::walk(report, program, structure)).run();
}

}  // namespace anybpf::verifier
