// SPDX-License-Identifier: Apache-2.0
#include "anybpf/isa/classic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "lines.hpp"
#include "token.hpp"

namespace anybpf::isa {
namespace {

enum class Operand : u8 { none, constant, hex, scratch, packet, indexed, header, x, length, target };
struct Row {
    ClassicCode code;
    std::string_view mnemonic;
    Operand operand;
};
constexpr auto rows = std::to_array<Row>({
#define ANYBPF_CLASSIC(name, code, mnemonic, operand) {ClassicCode::name, mnemonic, Operand::operand},
#include "anybpf/isa/classic.def"
});
struct Ancillary {
    std::string_view name;
    u32 distance;
};
constexpr auto ancillaries = std::to_array<Ancillary>({
#define ANYBPF_ANCILLARY(name, distance) {#name, distance},
#include "anybpf/isa/classic.def"
});

const Row* find(u16 code) {
    for (const Row& row : rows)
        if (static_cast<u16>(row.code) == code) return &row;
    return nullptr;
}
constexpr u16 class_jmp = 5;
bool is_conditional(const Row& row) {
    return (static_cast<u16>(row.code) & 7) == class_jmp && row.code != ClassicCode::ja;
}

std::optional<ClassicDefectKind> defect_of(const ClassicInsn& insn, u64 pc, u64 count) {
    const Row* const row = find(insn.code);
    if (row == nullptr) return ClassicDefectKind::unknown_opcode;
    if (row->operand == Operand::scratch && insn.k >= classic_scratch_words) return ClassicDefectKind::bad_scratch;
    if (row->code == ClassicCode::ja && insn.k >= count - pc - 1) return ClassicDefectKind::jump_outside;
    if (is_conditional(*row) && std::max(insn.jt, insn.jf) >= count - pc - 1) return ClassicDefectKind::jump_outside;
    const bool divides = row->code == ClassicCode::div_k || row->code == ClassicCode::mod_k;
    if (divides && insn.k == 0) return ClassicDefectKind::zero_divisor;
    const bool shifts = row->code == ClassicCode::lsh_k || row->code == ClassicCode::rsh_k;
    if (shifts && insn.k >= 32) return ClassicDefectKind::wide_shift;
    const bool ancillary = row->operand == Operand::packet && insn.k >= ancillary_base;
    if (ancillary && std::ranges::find(ancillaries, insn.k - ancillary_base, &Ancillary::distance) == ancillaries.end())
        return ClassicDefectKind::bad_ancillary;
    return {};
}

// Words of scratch memory that every path has written before it reads them. Jumps lead forward, so one pass suffices.
std::optional<ClassicDefect> unset_scratch(std::span<const ClassicInsn> insns) {
    std::vector<u16> written(insns.size(), 0xffff);  // on every path seen so far that leads here
    u16 now = 0;
    for (u32 pc = 0; pc < insns.size(); ++pc) {
        now &= written[pc];
        const ClassicInsn& insn = insns[pc];
        const u16 word = static_cast<u16>(1U << (insn.k % classic_scratch_words));
        const Row& row = *find(insn.code);
        if (row.operand == Operand::scratch) {
            const bool writes = row.code == ClassicCode::st || row.code == ClassicCode::stx;
            if (!writes && (now & word) == 0) return ClassicDefect{ClassicDefectKind::unset_scratch, Pc{pc}};
            now |= word;
        }
        const bool jumps = (insn.code & 7) == class_jmp;
        if (!jumps) continue;
        const bool always = row.code == ClassicCode::ja;
        written[pc + 1 + (always ? insn.k : insn.jt)] &= now;
        if (!always) written[pc + 1 + insn.jf] &= now;
        now = 0xffff;  // nothing falls through
    }
    return {};
}

}  // namespace

std::string_view to_string(ClassicDefectKind what) {
    switch (what) {
#define ANYBPF_CLASSIC_DEFECT(name, text) \
    case ClassicDefectKind::name:         \
        return text;
#include "anybpf/isa/classic.def"
    }
    return {};
}

std::optional<ClassicDefect> check(std::span<const ClassicInsn> insns) {
    if (insns.empty()) return ClassicDefect{ClassicDefectKind::empty, {}};
    if (insns.size() > classic_max_insns) return ClassicDefect{ClassicDefectKind::too_long, {}};
    for (u32 pc = 0; pc < insns.size(); ++pc)
        if (const auto what = defect_of(insns[pc], pc, insns.size())) return ClassicDefect{*what, Pc{pc}};
    const ClassicCode last{insns.back().code};
    if (last != ClassicCode::ret_k && last != ClassicCode::ret_a)
        return ClassicDefect{ClassicDefectKind::no_return, Pc{static_cast<u32>(insns.size() - 1)}};
    return unset_scratch(insns);
}

std::string print(const ClassicInsn& insn, Pc at) {
    const Row* const row = find(insn.code);
    const bool conditional = row != nullptr && is_conditional(*row);
    const bool uses_k = row != nullptr && row->operand != Operand::none && row->operand != Operand::x &&
                        row->operand != Operand::length;
    const bool target_fits = row == nullptr || row->operand != Operand::target || insn.k < ~u32{0} - at.v;
    if (row == nullptr || (!conditional && (insn.jt != 0 || insn.jf != 0)) || (!uses_k && insn.k != 0) || !target_fits)
        return fmt::format("{{ {:#x}, {}, {}, {:#010x} }},", insn.code, insn.jt, insn.jf, insn.k);
    std::string operand;
    switch (row->operand) {
        case Operand::none:
            break;
        case Operand::constant:
            operand = fmt::format("#{}", insn.k);
            break;
        case Operand::hex:
            operand = fmt::format("#{:#x}", insn.k);
            break;
        case Operand::scratch:
            operand = fmt::format("M[{}]", insn.k);
            break;
        case Operand::packet:
            operand = fmt::format("[{}]", static_cast<i32>(insn.k));
            break;
        case Operand::indexed:
            operand = fmt::format("[x + {}]", static_cast<i32>(insn.k));
            break;
        case Operand::header:
            operand = fmt::format("4*([{}]&0xf)", insn.k);
            break;
        case Operand::x:
            operand = "x";
            break;
        case Operand::length:
            operand = "#pktlen";
            break;
        case Operand::target:
            operand = fmt::format("{}", at.v + 1 + insn.k);
            break;
    }
    if (conditional)
        return fmt::format("{:<8} {:<16} jt {}\tjf {}", row->mnemonic, operand, at.v + 1 + insn.jt, at.v + 1 + insn.jf);
    return operand.empty() ? std::string(row->mnemonic) : fmt::format("{:<8} {}", row->mnemonic, operand);
}

std::string listing(std::span<const ClassicInsn> insns) {
    std::string text;
    for (u32 pc = 0; pc < insns.size(); ++pc) text += fmt::format("({:03}) {}\n", pc, print(insns[pc], Pc{pc}));
    return text;
}

namespace {

class ClassicAssembler {
  public:
    Result<> line(std::string_view text);
    Result<std::vector<ClassicInsn>> finish();
    u32 line_number() const { return line_; }

  private:
    enum class Field : u8 { jt, jf, k };
    struct Fixup {
        u32 insn;
        Field field;
        std::string label;  // empty: the index
        u32 index;
        u32 line;
    };
    struct Parsed {
        Operand operand;
        u32 k;
    };

    Result<> statement();
    Result<> raw();
    Result<> jump(std::string_view mnemonic);
    Result<Parsed> operand();
    Result<Parsed> bracket();
    Result<u32> number() {
        return static_cast<u32>(ANYBPF_TRY(in_.integer("a 32-bit number", std::numeric_limits<i32>::min(), ~u32{0})));
    }
    Result<> target(Field field);
    Result<> emit(std::string_view mnemonic, Parsed parsed);
    u32 pc() const { return static_cast<u32>(insns_.size()); }

    TokenReader in_{{Token{}}};
    std::vector<ClassicInsn> insns_;
    std::map<std::string, u32, std::less<>> labels_;
    std::vector<Fixup> fixups_;
    u32 line_ = 0;
};

Result<ClassicAssembler::Parsed> ClassicAssembler::bracket() {
    ANYBPF_TRY(in_.expect("["));
    Parsed parsed{Operand::packet, 0};
    in_.accept("%");
    if (in_.accept("x")) {
        parsed.operand = Operand::indexed;
        if (in_.is("+") && in_.is("-", 1)) in_.next();  // [x + -5]
        if (!in_.is("]")) parsed.k = ANYBPF_TRY(number());
    } else {
        parsed.k = ANYBPF_TRY(number());
    }
    ANYBPF_TRY(in_.expect("]"));
    return parsed;
}

Result<ClassicAssembler::Parsed> ClassicAssembler::operand() {
    if (in_.accept("#")) {
        if (in_.accept("pktlen") || in_.accept("len")) return Parsed{Operand::length, 0};
        return Parsed{Operand::constant, ANYBPF_TRY(number())};
    }
    if (in_.is("[")) return bracket();
    if (in_.accept("M")) {
        const Parsed parsed = ANYBPF_TRY(bracket());
        return Parsed{Operand::scratch, parsed.k};
    }
    if (in_.accept("4")) {
        for (const std::string_view text : {"*", "("}) ANYBPF_TRY(in_.expect(text));
        const Parsed parsed = ANYBPF_TRY(bracket());
        for (const std::string_view text : {"&", "0xf", ")"}) ANYBPF_TRY(in_.expect(text));
        return Parsed{Operand::header, parsed.k};
    }
    in_.accept("%");
    if (in_.accept("x")) return Parsed{Operand::x, 0};
    if (in_.accept("len") || in_.accept("pktlen")) return Parsed{Operand::length, 0};
    if (in_.done() || in_.accept("a")) return Parsed{Operand::none, 0};
    for (const Ancillary& ancillary : ancillaries)
        if (in_.accept(ancillary.name)) return Parsed{Operand::packet, ancillary_base + ancillary.distance};
    return in_.unexpected("an operand");
}

// A label, or the index of an instruction.
Result<> ClassicAssembler::target(Field field) {
    Fixup fixup{pc(), field, {}, 0, line_};
    if (in_.peek().type == Token::Type::word) {
        fixup.label = in_.next().text;
    } else {
        fixup.index = ANYBPF_TRY(number());
    }
    fixups_.push_back(std::move(fixup));
    return {};
}

Result<> ClassicAssembler::emit(std::string_view mnemonic, Parsed parsed) {
    for (const Row& row : rows) {
        const Operand wanted = row.operand == Operand::hex ? Operand::constant : row.operand;
        const bool same_name = row.mnemonic == mnemonic || (row.code == ClassicCode::ldx_msh && mnemonic == "ldx");
        if (!same_name || wanted != parsed.operand) continue;
        insns_.push_back({.code = static_cast<u16>(row.code), .k = parsed.k});
        return {};
    }
    return fail(Errc::malformed, fmt::format("there is no instruction '{}' with this operand", mnemonic));
}

// jeq #5 jt 3 jf 4, with indices; jeq #5, label[, label]. What classic BPF lacks is the opposite with its targets
// exchanged.
Result<> ClassicAssembler::jump(std::string_view mnemonic) {
    struct Opposite {
        std::string_view name, of;
    };
    bool exchanged = false;
    for (const Opposite& opposite :
         std::to_array<Opposite>({{"jne", "jeq"}, {"jneq", "jeq"}, {"jlt", "jge"}, {"jle", "jgt"}})) {
        if (mnemonic != opposite.name) continue;
        mnemonic = opposite.of;
        exchanged = true;
        break;
    }
    const Field taken = exchanged ? Field::jf : Field::jt, other = exchanged ? Field::jt : Field::jf;
    const Parsed parsed = ANYBPF_TRY(operand());
    if (in_.accept("jt")) {
        ANYBPF_TRY(target(taken));
        ANYBPF_TRY(in_.expect("jf"));
        ANYBPF_TRY(target(other));
    } else {
        ANYBPF_TRY(in_.expect(","));
        ANYBPF_TRY(target(taken));
        if (in_.accept(",")) ANYBPF_TRY(target(other));
    }
    return emit(mnemonic, parsed);
}

// { code, jt, jf, k },
Result<> ClassicAssembler::raw() {
    ClassicInsn insn;
    insn.code = static_cast<u16>(ANYBPF_TRY(in_.integer("a code", 0, 0xffff)));
    ANYBPF_TRY(in_.expect(","));
    insn.jt = static_cast<u8>(ANYBPF_TRY(in_.integer("a distance", 0, 255)));
    ANYBPF_TRY(in_.expect(","));
    insn.jf = static_cast<u8>(ANYBPF_TRY(in_.integer("a distance", 0, 255)));
    ANYBPF_TRY(in_.expect(","));
    insn.k = ANYBPF_TRY(number());
    ANYBPF_TRY(in_.expect("}"));
    in_.accept(",");
    insns_.push_back(insn);
    return {};
}

Result<> ClassicAssembler::statement() {
    if (in_.is("(") && in_.peek(1).type == Token::Type::number && in_.is(")", 2))
        for (int i = 0; i < 3; ++i) in_.next();
    while (in_.peek().type == Token::Type::word && in_.is(":", 1)) {
        if (!labels_.try_emplace(std::string(in_.next().text), pc()).second)
            return fail(Errc::malformed, "the label is there twice");
        in_.next();
    }
    if (in_.done()) return {};
    if (in_.accept("{")) return raw();
    if (in_.peek().type != Token::Type::word) return in_.unexpected("an instruction");
    const std::string_view mnemonic = in_.next().text;
    if (mnemonic == "ja" || mnemonic == "jmp") {
        ANYBPF_TRY(target(Field::k));
        return emit("ja", {Operand::target, 0});
    }
    if (mnemonic.starts_with('j')) return jump(mnemonic);
    return emit(mnemonic, ANYBPF_TRY(operand()));
}

Result<> ClassicAssembler::line(std::string_view text) {
    ++line_;
    in_ = TokenReader(ANYBPF_TRY(tokenize(text, Hash::is_token)));
    ANYBPF_TRY(statement());
    if (!in_.done()) return in_.unexpected("the end of the line");
    return {};
}

Result<std::vector<ClassicInsn>> ClassicAssembler::finish() {
    for (const Fixup& fixup : fixups_) {
        line_ = fixup.line;
        u32 to = fixup.index;
        if (!fixup.label.empty()) {
            const auto label = labels_.find(fixup.label);
            if (label == labels_.end()) return fail(Errc::malformed, fmt::format("there is no label {}", fixup.label));
            to = label->second;
        }
        const u32 distance = to - fixup.insn - 1;
        if (to <= fixup.insn || (fixup.field != Field::k && distance > 255))
            return fail(Errc::malformed, "jumps lead forward, conditional ones over at most 255 instructions");
        ClassicInsn& insn = insns_[fixup.insn];
        if (fixup.field == Field::k) insn.k = distance;
        if (fixup.field == Field::jt) insn.jt = static_cast<u8>(distance);
        if (fixup.field == Field::jf) insn.jf = static_cast<u8>(distance);
    }
    return std::move(insns_);
}

}  // namespace

Result<std::vector<ClassicInsn>> assemble_classic(std::string_view text) {
    return assemble_lines(ClassicAssembler(), text);
}

}  // namespace anybpf::isa
