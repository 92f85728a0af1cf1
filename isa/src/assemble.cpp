// SPDX-License-Identifier: Apache-2.0
// The assembler: a line is a statement in the syntax of llvm-objdump and the kernel's log, or a mnemonic in that of the
// conformance tests. Distances to labels are filled in when all lines have been read.
#include <fmt/format.h>

#include <bit>
#include <limits>
#include <map>
#include <string>

#include "anybpf/isa/text.hpp"
#include "lines.hpp"
#include "token.hpp"

namespace anybpf::isa {
namespace {

// Where a label's distance goes, and from where it is counted.
enum class Field : u8 { off, imm };
struct Fixup {
    u32 insn;
    Field field;
    std::string label;
    u32 line;
};

// An instruction whose registers are whole bytes, which spares a cast at each use.
struct Draft {
    u8 code = 0, dst = 0, src = 0;
    i16 off = 0;
    i32 imm = 0;
    constexpr Insn insn() const {
        return {
            .code = code, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(src & 15), .off = off, .imm = imm};
    }
};

struct Register {
    u8 number;
    bool is64;
};

std::optional<Register> as_register(std::string_view text) {
    if (text.size() < 2 || text.size() > 3 || (text[0] != 'r' && text[0] != 'w')) return {};
    u32 number = 0;
    for (const char c : text.substr(1)) {
        if (c < '0' || c > '9') return {};
        number = number * 10 + static_cast<u32>(c - '0');
    }
    if (number > 15 || (text[1] == '0' && text.size() > 2)) return {};
    return Register{static_cast<u8>(number), text[0] == 'r'};
}

std::optional<Width> as_width(std::string_view text) {
    for (const WidthRow& width : width_rows)
        if (width.text.substr(1) == text.substr(std::min<std::size_t>(1, text.size())) &&
            (text[0] == 'u' || text[0] == 's'))
            return width.width;
    return {};
}

struct Memory {
    Width width{};
    bool is_signed = false;
    u8 base = 0;
    i16 off = 0;
};

class Assembler {
  public:
    explicit Assembler(const HelperNumber& helper) : helper_(helper) {}
    Result<> line(std::string_view text);
    Result<std::vector<Insn>> finish();
    u32 line_number() const { return line_; }

  private:
    Result<> statement();
    Result<> assignment(Register dst);
    Result<> assign_call(Register dst, std::string_view function);
    Result<> assign_wide(Register dst);
    Result<> update(Register dst);
    Result<> condition();
    Result<> transfer(std::string_view word);
    Result<> call();
    Result<> store();
    Result<> lock();
    Result<> store_release();
    Result<> mnemonic(std::string_view word);
    Result<bool> alu_mnemonic(std::string_view word);
    Result<bool> jump_mnemonic(std::string_view word);
    Result<bool> memory_mnemonic(std::string_view word);
    Result<bool> unary_mnemonic(std::string_view word);
    Result<> lock_mnemonic(std::string_view word);

    Result<Register> reg();
    Result<Register> reg(bool is64);
    bool at_register() const { return as_register(peek(is("%") ? 1 : 0).text).has_value(); }
    Result<i32> imm() {
        return narrow<i32>(ANYBPF_TRY(in_.integer("a 32-bit number", std::numeric_limits<i32>::min(), ~u32{0})));
    }
    Result<i16> offset();
    Result<std::pair<u8, i16>> address();          // r1 + 8
    Result<std::pair<u8, i16>> bracket_address();  // [r1+8]
    Result<Memory> memory();                       // *(u64 *)(r1 + 8), after the star
    Result<> target(Draft insn, Field field);
    Result<> operand(Draft insn, bool is64);  // register or immediate, into src or imm
    template <class T>
    static T narrow(i64 value) {
        return static_cast<T>(value);
    }
    void emit(const Draft& insn) { insns_.push_back(insn.insn()); }
    const Token& peek(std::size_t ahead = 0) const { return in_.peek(ahead); }
    bool is(std::string_view text) const { return in_.is(text); }
    u32 pc() const { return static_cast<u32>(insns_.size()); }

    const HelperNumber& helper_;
    TokenReader in_{{Token{}}};
    std::vector<Insn> insns_;
    std::map<std::string, u32, std::less<>> labels_;
    std::vector<Fixup> fixups_;
    u32 line_ = 0;
};

Result<Register> Assembler::reg() {
    in_.accept("%");
    const auto found = as_register(peek().text);
    if (!found) return in_.unexpected("a register");
    in_.next();
    return *found;
}

Result<Register> Assembler::reg(bool is64) {
    const Register found = ANYBPF_TRY(reg());
    if (found.is64 != is64)
        return fail(Errc::malformed,
                    fmt::format("{}{} has the wrong width here", found.is64 ? 'r' : 'w', found.number));
    return found;
}

// What follows a base register: nothing, or a sign and a number.
Result<i16> Assembler::offset() {
    if (!is("+") && !is("-")) return i16{0};
    return narrow<i16>(ANYBPF_TRY(in_.integer("a 16-bit offset", std::numeric_limits<i16>::min(), 32767)));
}

Result<std::pair<u8, i16>> Assembler::address() {
    const Register base = ANYBPF_TRY(reg(true));
    return std::pair{base.number, ANYBPF_TRY(offset())};
}

Result<std::pair<u8, i16>> Assembler::bracket_address() {
    ANYBPF_TRY(in_.expect("["));
    const auto place = ANYBPF_TRY(address());
    ANYBPF_TRY(in_.expect("]"));
    return place;
}

Result<Memory> Assembler::memory() {
    ANYBPF_TRY(in_.expect("("));
    const auto width = as_width(peek().text);
    if (!width) return in_.unexpected("a width such as u64");
    const bool is_signed = in_.next().text[0] == 's';
    ANYBPF_TRY(in_.expect("*"));
    ANYBPF_TRY(in_.expect(")"));
    if (is("skb")) return Memory{.width = *width, .is_signed = is_signed};
    ANYBPF_TRY(in_.expect("("));
    const auto [base, off] = ANYBPF_TRY(address());
    ANYBPF_TRY(in_.expect(")"));
    return Memory{*width, is_signed, base, off};
}

// +5, pc+5 or a label; a listing's <symbol> behind it is skipped.
Result<> Assembler::target(Draft insn, Field field) {
    if (is("pc") && (in_.is("+", 1) || in_.is("-", 1))) in_.next();
    if (in_.at_integer()) {
        if (field == Field::off)
            insn.off =
                narrow<i16>(ANYBPF_TRY(in_.integer("a 16-bit distance", std::numeric_limits<i16>::min(), 32767)));
        else
            insn.imm = narrow<i32>(ANYBPF_TRY(
                in_.integer("a 32-bit distance", std::numeric_limits<i32>::min(), std::numeric_limits<i32>::max())));
        if (is("<")) in_.skip_rest();
    } else {
        if (peek().type != Token::Type::word) return in_.unexpected("a distance or a label");
        fixups_.push_back({pc(), field, std::string(in_.next().text), line_});
    }
    emit(insn);
    return {};
}

Result<> Assembler::operand(Draft insn, bool is64) {
    if (at_register()) {
        insn.code |= source_register;
        insn.src = ANYBPF_TRY(reg(is64)).number;
    } else {
        insn.imm = ANYBPF_TRY(imm());
    }
    emit(insn);
    return {};
}

constexpr u8 alu_class(bool is64) { return is64 ? class_alu64 : class_alu32; }
constexpr u8 jump_class(bool is64) { return is64 ? class_jmp : class_jmp32; }
constexpr u8 memory_code(u8 kind, u8 mode, Width width) {
    return static_cast<u8>(kind | mode | static_cast<u8>(width));
}
constexpr Draft atomic_insn(AtomicOp op, Width width, u8 dst, u8 src, i16 off) {
    return {.code = memory_code(class_stx, mode_atomic, width), .dst = dst, .src = src, .off = off, .imm = row(op).imm};
}
constexpr Draft alu_insn(AluOp op, Register dst) {
    return {.code = static_cast<u8>(row(op).code | alu_class(dst.is64)),
            .dst = dst.number,
            .src = 0,
            .off = row(op).off,
            .imm = 0};
}

// dst op= operand
Result<> Assembler::update(Register dst) {
    for (const AluRow& alu : alu_rows) {
        if (alu.form == AluForm::unary || !in_.accept(alu.symbol)) continue;
        return operand(alu_insn(alu.op, dst), dst.is64);
    }
    return in_.unexpected("an assignment");
}

// dst = ...
Result<> Assembler::assignment(Register dst) {
    if (is("-") && (as_register(peek(1).text) || in_.is("%", 1))) {
        in_.next();
        const Register src = ANYBPF_TRY(reg(dst.is64));
        if (src.number != dst.number) return fail(Errc::malformed, "negation works on one register only");
        emit(alu_insn(AluOp::neg, dst));
        return {};
    }
    if (in_.accept("*")) {
        const Memory from = ANYBPF_TRY(memory());
        if (in_.accept("skb")) {
            ANYBPF_TRY(in_.expect("["));
            Draft insn{.code = memory_code(class_ld, mode_abs, from.width)};
            if (at_register()) {
                insn.code = memory_code(class_ld, mode_ind, from.width);
                insn.src = ANYBPF_TRY(reg(true)).number;
                // A sign and a number, whose own sign the kernel prints too: r3 + -5.
                const bool both_signs = is("+") && in_.is("-", 1);
                if (both_signs) in_.next();
                if (is("+") || is("-")) insn.imm = ANYBPF_TRY(imm());
            } else {
                insn.imm = ANYBPF_TRY(imm());
            }
            if (dst.number != 0) return fail(Errc::malformed, "packet bytes are loaded into r0 only");
            emit(insn);
            return in_.expect("]");
        }
        // w1 = *(u8 *)... is how llvm writes the same zero-extending load for 32-bit code
        emit({.code = memory_code(class_ldx, from.is_signed ? mode_memsx : mode_mem, from.width),
              .dst = dst.number,
              .src = from.base,
              .off = from.off});
        return {};
    }
    if (in_.accept("(")) {
        for (const ExtendRow& extend : extend_rows) {
            if (!in_.accept(extend.text)) continue;
            ANYBPF_TRY(in_.expect(")"));
            Draft insn = alu_insn(AluOp::mov, dst);
            insn.code |= source_register;
            insn.off = extend.bits;
            insn.src = ANYBPF_TRY(reg(dst.is64)).number;
            emit(insn);
            return {};
        }
        return in_.unexpected("s8, s16 or s32");
    }
    if (at_register()) return operand(alu_insn(AluOp::mov, dst), dst.is64);
    if (peek().type != Token::Type::word) return assign_wide(dst);
    if (in_.is("[", 1)) return assign_wide(dst);
    const std::string_view word = in_.next().text;
    for (const SwapRow& swap : swap_rows) {
        if (swap.text != word) continue;
        if (ANYBPF_TRY(reg()).number != dst.number)
            return fail(Errc::malformed, "byte order changes in one register only");
        emit({.code = swap.code, .dst = dst.number, .imm = swap.bits});
        return {};
    }
    if (is("(")) return assign_call(dst, word);
    if (in_.accept("ll")) {  // the address of a subprogram
        fixups_.push_back({pc(), Field::imm, std::string(word), line_});
        emit({.code = code_wide, .dst = dst.number, .src = static_cast<u8>(Pseudo::func)});
        emit({});
        return {};
    }
    return fail(Errc::malformed, fmt::format("'{}' is neither a register, a number nor an operation", word));
}

// dst = function(arguments): the atomics and the address space cast.
Result<> Assembler::assign_call(Register dst, std::string_view function) {
    ANYBPF_TRY(in_.expect("("));
    if (function == "addr_space_cast") {
        Draft insn{.code = code_cast, .dst = dst.number, .src = ANYBPF_TRY(reg(true)).number, .off = 1};
        ANYBPF_TRY(in_.expect(","));
        const auto to = static_cast<u32>(ANYBPF_TRY(in_.integer("an address space", 0, 0xffff)));
        ANYBPF_TRY(in_.expect(","));
        const auto from = static_cast<u32>(ANYBPF_TRY(in_.integer("an address space", 0, 0xffff)));
        insn.imm = static_cast<i32>(to << 16 | from);
        emit(insn);
        return in_.expect(")");
    }
    // llvm: xchg_64(r1 + 8, r2), whose name has the width; kernel: atomic64_xchg((u64 *)(r1 +8), r2)
    Memory place;
    std::string_view name = function;
    if (is("(")) {
        place = ANYBPF_TRY(memory());
        if (name.starts_with("atomic64_")) name.remove_prefix(9);
        if (name.starts_with("atomic_")) name.remove_prefix(7);
    } else {
        if (!name.ends_with("_64") && !name.ends_with("32_32")) return in_.unexpected("an address with its width");
        place.width = name.ends_with("_64") ? Width::dword : Width::word;
        name.remove_suffix(name.ends_with("_64") ? 3 : 5);
        std::tie(place.base, place.off) = ANYBPF_TRY(address());
    }
    for (const AtomicRow& atomic : atomic_rows) {
        if (atomic.text != name || atomic.form == AtomicForm::modify || atomic.form == AtomicForm::store) continue;
        if (atomic.form == AtomicForm::load) {
            emit(atomic_insn(atomic.op, place.width, dst.number, place.base, place.off));
            return in_.expect(")");
        }
        ANYBPF_TRY(in_.expect(","));
        if (atomic.form == AtomicForm::compare_exchange) {
            if (ANYBPF_TRY(reg()).number != 0 || dst.number != 0)
                return fail(Errc::malformed, "cmpxchg compares with r0 and returns in r0");
            ANYBPF_TRY(in_.expect(","));
        }
        const u8 src = ANYBPF_TRY(reg()).number;
        if (atomic.form != AtomicForm::compare_exchange && src != dst.number)
            return fail(Errc::malformed, fmt::format("{} returns in the register it takes", function));
        emit(atomic_insn(atomic.op, place.width, place.base, src, place.off));
        return in_.expect(")");
    }
    return fail(Errc::malformed, fmt::format("there is no operation {}", function));
}

// dst = number [ll], map[fd:1], map[idx:1][0]+8, btf[id:7], subprog[+3]
Result<> Assembler::assign_wide(Register dst) {
    if (in_.at_integer()) {
        const bool wide = in_.is("ll", is("-") || is("+") ? 2 : 1);
        if (!wide) return operand(alu_insn(AluOp::mov, dst), dst.is64);
        const i64 value = ANYBPF_TRY(in_.integer("a 64-bit number", std::numeric_limits<i64>::min(), ~u64{0}));
        in_.next();
        emit({.code = code_wide, .dst = dst.number, .imm = narrow<i32>(value)});
        emit({.imm = narrow<i32>(value >> 32)});
        return {};
    }
    Draft first{.code = code_wide, .dst = dst.number};
    Draft second{};
    const auto number = [&]() -> Result<i32> {
        ANYBPF_TRY(in_.expect(":"));
        return imm();
    };
    if (in_.accept("map")) {
        ANYBPF_TRY(in_.expect("["));
        const bool by_index = in_.accept("idx");
        if (!by_index) ANYBPF_TRY(in_.expect("fd"));
        first.imm = ANYBPF_TRY(number());
        ANYBPF_TRY(in_.expect("]"));
        const bool value = in_.accept("[");
        if (value) {
            ANYBPF_TRY(in_.expect("0"));
            ANYBPF_TRY(in_.expect("]"));
            second.imm = ANYBPF_TRY(imm());
        }
        first.src = static_cast<u8>(by_index ? (value ? Pseudo::map_idx_value : Pseudo::map_idx)
                                             : (value ? Pseudo::map_value : Pseudo::map_fd));
    } else if (in_.accept("btf")) {
        ANYBPF_TRY(in_.expect("["));
        ANYBPF_TRY(in_.expect("id"));
        first.src = static_cast<u8>(Pseudo::btf_id);
        first.imm = ANYBPF_TRY(number());
        if (in_.accept(",")) {
            ANYBPF_TRY(in_.expect("fd"));
            second.imm = ANYBPF_TRY(number());
        }
        ANYBPF_TRY(in_.expect("]"));
    } else if (in_.accept("subprog")) {
        ANYBPF_TRY(in_.expect("["));
        first.src = static_cast<u8>(Pseudo::func);
        first.imm = ANYBPF_TRY(imm());
        ANYBPF_TRY(in_.expect("]"));
    } else {
        return in_.unexpected("a register, a number or an operation");
    }
    in_.accept("ll");
    emit(first);
    emit(second);
    return {};
}

// if r1 > 5 goto +3
Result<> Assembler::condition() {
    const Register left = ANYBPF_TRY(reg());
    for (const JumpRow& jump : jump_rows) {
        if (!in_.accept(jump.symbol)) continue;
        Draft insn{.code = static_cast<u8>(jump.code | jump_class(left.is64)), .dst = left.number};
        if (at_register()) {
            insn.code |= source_register;
            insn.src = ANYBPF_TRY(reg(left.is64)).number;
        } else {
            insn.imm = ANYBPF_TRY(imm());
        }
        ANYBPF_TRY(in_.expect("goto"));
        return target(insn, Field::off);
    }
    return in_.unexpected("a comparison");
}

// call 5, call bpf_loop#181, call name, call pc+3, call kfunc#7@1; call helper|local|runtime X as the conformance tests
Result<> Assembler::call() {
    Draft insn{.code = static_cast<u8>(ControlCode::call)};
    const bool local = in_.accept("local");
    const bool kfunc = !local && (in_.accept("kfunc") || in_.accept("runtime"));
    if (!local && !kfunc) in_.accept("helper");
    if (!local && !kfunc && at_register()) {  // the conformance tests' form of callx
        insn.code = static_cast<u8>(ControlCode::callx);
        insn.dst = ANYBPF_TRY(reg(true)).number;
        emit(insn);
        return {};
    }
    if (local || (is("pc") && !in_.is("#", 1))) {
        insn.src = static_cast<u8>(CallKind::subprogram);
        return target(insn, Field::imm);
    }
    if (kfunc) {
        insn.src = static_cast<u8>(CallKind::kfunc);
        in_.accept("#");
        insn.imm = ANYBPF_TRY(imm());
        if (in_.accept("@"))
            insn.off = narrow<i16>(ANYBPF_TRY(in_.integer("a 16-bit index", std::numeric_limits<i16>::min(), 32767)));
        emit(insn);
        return {};
    }
    if (in_.at_integer()) {
        insn.imm = ANYBPF_TRY(imm());
        emit(insn);
        return {};
    }
    if (peek().type != Token::Type::word) return in_.unexpected("a function");
    if (in_.is("#", 1)) {  // the name is a comment on the number
        in_.next();
        in_.next();
        insn.imm = ANYBPF_TRY(imm());
        emit(insn);
        return {};
    }
    std::string_view name = peek().text;
    if (name.starts_with("bpf_")) name.remove_prefix(4);
    const auto number = helper_ ? helper_(name) : std::nullopt;
    if (number) {
        in_.next();
        insn.imm = static_cast<i32>(*number);
        emit(insn);
        return {};
    }
    insn.src = static_cast<u8>(CallKind::subprogram);
    return target(insn, Field::imm);
}

// goto, gotol, may_goto and what else moves the program counter.
Result<> Assembler::transfer(std::string_view word) {
    const ControlCode code = [&] {
#define ANYBPF_CONTROL(name, code, dst, src, off, imm, text) \
    if (word == text) return ControlCode::name;
#include "anybpf/isa/isa.def"
        return ControlCode::ja;
    }();
    Draft insn{.code = static_cast<u8>(code)};
    switch (code) {
        case ControlCode::ja:
        case ControlCode::may_goto:
            return target(insn, Field::off);
        case ControlCode::gotol:
            return target(insn, Field::imm);
        case ControlCode::gotox:
        case ControlCode::callx:
            insn.dst = ANYBPF_TRY(reg(true)).number;
            break;
        case ControlCode::call:
            return call();
        case ControlCode::exit:
            // The conformance tests jump to "exit" without declaring it: the first exit instruction.
            labels_.try_emplace("exit", pc());
            break;
    }
    emit(insn);
    return {};
}

// *(u64 *)(r1 + 8) = operand
Result<> Assembler::store() {
    const Memory to = ANYBPF_TRY(memory());
    if (to.is_signed) return fail(Errc::malformed, "stores have no signed widths");
    ANYBPF_TRY(in_.expect("="));
    Draft insn{.dst = to.base, .off = to.off};
    if (at_register()) {
        insn.code = memory_code(class_stx, mode_mem, to.width);
        insn.src = ANYBPF_TRY(reg()).number;
    } else {
        insn.code = memory_code(class_st, mode_mem, to.width);
        insn.imm = ANYBPF_TRY(imm());
    }
    emit(insn);
    return {};
}

// lock *(u64 *)(r1 + 8) += r2
Result<> Assembler::lock() {
    if (!in_.accept("*")) return lock_mnemonic(in_.next().text);
    const Memory place = ANYBPF_TRY(memory());
    for (const AtomicRow& atomic : atomic_rows) {
        if (atomic.form != AtomicForm::modify || !in_.accept(atomic.text)) continue;
        emit(atomic_insn(atomic.op, place.width, place.base, ANYBPF_TRY(reg()).number, place.off));
        return {};
    }
    return in_.unexpected("+=, |=, &= or ^=");
}

Result<> Assembler::store_release() {
    ANYBPF_TRY(in_.expect("("));
    const Memory place = ANYBPF_TRY(memory());
    ANYBPF_TRY(in_.expect(","));
    emit(atomic_insn(AtomicOp::store_release, place.width, place.base, ANYBPF_TRY(reg()).number, place.off));
    return in_.expect(")");
}

// lock [fetch] add[32] [r1+8], r2
Result<> Assembler::lock_mnemonic(std::string_view word) {
    std::string name;
    if (word == "fetch") {
        name = "fetch_";
        word = in_.next().text;
    }
    const bool low = word.ends_with("32");
    if (low) word.remove_suffix(2);
    for (const AtomicRow& atomic : atomic_rows) {
        std::string_view plain = atomic.text;
        if (atomic.form == AtomicForm::modify) {
            for (const AluRow& alu : alu_rows)
                if (alu.symbol == atomic.text) plain = alu.mnemonic;
        }
        if (plain != name + std::string(word)) continue;
        const auto [base, off] = ANYBPF_TRY(bracket_address());
        ANYBPF_TRY(in_.expect(","));
        emit(atomic_insn(atomic.op, low ? Width::word : Width::dword, base, ANYBPF_TRY(reg()).number, off));
        return {};
    }
    return fail(Errc::malformed, fmt::format("there is no atomic operation {}{}", name, word));
}

// Splits a trailing 32 or 64 off a mnemonic that has both widths.
struct Mnemonic {
    std::string_view name;
    bool is64 = true;
};
Mnemonic split_width(std::string_view word) {
    if (word.ends_with("32")) return {word.substr(0, word.size() - 2), false};
    if (word.ends_with("64")) return {word.substr(0, word.size() - 2), true};
    return {word, true};
}

Result<bool> Assembler::alu_mnemonic(std::string_view word) {
    const auto [name, is64] = split_width(word);
    for (const AluRow& alu : alu_rows) {
        if (alu.mnemonic != name) continue;
        Register dst = ANYBPF_TRY(reg());
        dst.is64 = is64;
        if (alu.form == AluForm::unary) {
            emit(alu_insn(alu.op, dst));
            return true;
        }
        ANYBPF_TRY(in_.expect(","));
        Draft insn = alu_insn(alu.op, dst);
        if (at_register()) {
            insn.code |= source_register;
            insn.src = ANYBPF_TRY(reg()).number;
        } else {
            insn.imm = ANYBPF_TRY(imm());
        }
        emit(insn);
        return true;
    }
    return false;
}

// movsx864 r1, r2 (8 bits into 64); be16 r1; swap16 r1
Result<bool> Assembler::unary_mnemonic(std::string_view word) {
    for (const ExtendRow& extend : extend_rows) {
        for (const bool is64 : {true, false}) {
            if (word != fmt::format("movsx{}{}", extend.bits, is64 ? 64 : 32)) continue;
            if (!is64 && !extend.narrow) return false;
            Draft insn = alu_insn(AluOp::mov, {ANYBPF_TRY(reg()).number, is64});
            ANYBPF_TRY(in_.expect(","));
            insn.code |= source_register;
            insn.src = ANYBPF_TRY(reg()).number;
            insn.off = extend.bits;
            emit(insn);
            return true;
        }
    }
    for (const SwapRow& swap : swap_rows) {
        if (word != swap.text && !(word.starts_with("swap") && swap.text.substr(1) == word)) continue;
        emit({.code = swap.code, .dst = ANYBPF_TRY(reg()).number, .imm = swap.bits});
        return true;
    }
    return false;
}

Result<bool> Assembler::jump_mnemonic(std::string_view word) {
    const auto [name, is64] = split_width(word);
    if (name == "ja") {
        ANYBPF_TRY(target({.code = static_cast<u8>(is64 ? ControlCode::ja : ControlCode::gotol)},
                          is64 ? Field::off : Field::imm));
        return true;
    }
    for (const JumpRow& jump : jump_rows) {
        if (jump.mnemonic != name) continue;
        Draft insn{.code = static_cast<u8>(jump.code | jump_class(is64)), .dst = ANYBPF_TRY(reg()).number};
        ANYBPF_TRY(in_.expect(","));
        if (at_register()) {
            insn.code |= source_register;
            insn.src = ANYBPF_TRY(reg()).number;
        } else {
            insn.imm = ANYBPF_TRY(imm());
        }
        ANYBPF_TRY(in_.expect(","));
        ANYBPF_TRY(target(insn, Field::off));
        return true;
    }
    return false;
}

// ldxw r1, [r2+8]; ldxsw; stw [r1+8], 5; stxw [r1+8], r2; lddw r1, 5; ldabsw 5; ldindw r1, 5
Result<bool> Assembler::memory_mnemonic(std::string_view word) {
    if (word == "lddw") {
        const u8 dst = ANYBPF_TRY(reg()).number;
        ANYBPF_TRY(in_.expect(","));
        const i64 value = ANYBPF_TRY(in_.integer("a 64-bit number", std::numeric_limits<i64>::min(), ~u64{0}));
        emit({.code = code_wide, .dst = dst, .imm = narrow<i32>(value)});
        emit({.imm = narrow<i32>(value >> 32)});
        return true;
    }
    for (const WidthRow& width : width_rows) {
        const auto named = [&](std::string_view start) {
            return word.starts_with(start) && word.substr(start.size()) == width.suffix;
        };
        if (named("ldx") || named("ldxs")) {
            const u8 dst = ANYBPF_TRY(reg()).number;
            ANYBPF_TRY(in_.expect(","));
            const auto [base, off] = ANYBPF_TRY(bracket_address());
            emit({.code = memory_code(class_ldx, named("ldx") ? mode_mem : mode_memsx, width.width),
                  .dst = dst,
                  .src = base,
                  .off = off});
            return true;
        }
        if (named("st") || named("stx")) {
            const auto [base, off] = ANYBPF_TRY(bracket_address());
            ANYBPF_TRY(in_.expect(","));
            Draft insn{.dst = base, .off = off};
            if (named("st")) {
                insn.code = memory_code(class_st, mode_mem, width.width);
                insn.imm = ANYBPF_TRY(imm());
            } else {
                insn.code = memory_code(class_stx, mode_mem, width.width);
                insn.src = ANYBPF_TRY(reg()).number;
            }
            emit(insn);
            return true;
        }
        if (named("ldabs") || named("ldind")) {
            Draft insn{.code = memory_code(class_ld, named("ldabs") ? mode_abs : mode_ind, width.width)};
            if (named("ldind")) {
                insn.src = ANYBPF_TRY(reg()).number;
                ANYBPF_TRY(in_.expect(","));
            }
            insn.imm = ANYBPF_TRY(imm());
            emit(insn);
            return true;
        }
    }
    return false;
}

Result<> Assembler::mnemonic(std::string_view word) {
    if (ANYBPF_TRY(unary_mnemonic(word)) || ANYBPF_TRY(alu_mnemonic(word)) || ANYBPF_TRY(jump_mnemonic(word)) ||
        ANYBPF_TRY(memory_mnemonic(word)))
        return {};
    if (word == ".quad") {
        const i64 bits = ANYBPF_TRY(in_.integer("a 64-bit number", std::numeric_limits<i64>::min(), ~u64{0}));
        insns_.push_back(std::bit_cast<Insn>(bits));
        return {};
    }
    return fail(Errc::malformed, fmt::format("there is no instruction '{}'", word));
}

Result<> Assembler::statement() {
    while (peek().type == Token::Type::word && in_.is(":", 1)) {
        const auto [label, fresh] = labels_.insert_or_assign(std::string(in_.next().text), pc());
        in_.next();
        if (!fresh && label->first != "exit")
            return fail(Errc::malformed, fmt::format("label {} is there twice", label->first));
    }
    if (in_.done()) return {};
    if (in_.accept("*")) return store();
    if (at_register()) {
        const Register dst = ANYBPF_TRY(reg());
        return in_.accept("=") ? assignment(dst) : update(dst);
    }
    if (peek().type != Token::Type::word) return in_.unexpected("an instruction");
    const std::string_view word = in_.next().text;
    if (word == "if") return condition();
    if (word == "lock") return lock();
    if (word == "store_release") return store_release();
#define ANYBPF_CONTROL(name, code, dst, src, off, imm, text) \
    if (word == text) return transfer(word);
#include "anybpf/isa/isa.def"
    return mnemonic(word);
}

// Drops what a listing puts before the instruction: "12:", then its bytes or its opcode in parentheses.
std::string_view without_columns(std::string_view text) {
    const auto skip_blanks = [&] { text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size())); };
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    skip_blanks();
    const std::size_t digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos || text[digits] != ':') return text;
    text.remove_prefix(digits + 1);
    skip_blanks();
    if (text.size() > 4 && text[0] == '(' && is_hex(text[1]) && is_hex(text[2]) && text[3] == ')')
        text.remove_prefix(4);
    std::string_view rest = text;
    u32 bytes = 0;
    while (rest.size() > 2 && is_hex(rest[0]) && is_hex(rest[1]) && (rest[2] == ' ' || rest[2] == '\t')) {
        rest.remove_prefix(3);
        ++bytes;
    }
    return bytes == 8 || bytes == 16 ? rest : text;
}

Result<> Assembler::line(std::string_view text) {
    ++line_;
    in_ = TokenReader(ANYBPF_TRY(tokenize(without_columns(text))));
    ANYBPF_TRY(statement());
    if (!in_.done()) return in_.unexpected("the end of the line");
    return {};
}

Result<std::vector<Insn>> Assembler::finish() {
    for (const Fixup& fixup : fixups_) {
        line_ = fixup.line;
        const auto label = labels_.find(fixup.label);
        if (label == labels_.end()) return fail(Errc::malformed, fmt::format("there is no label {}", fixup.label));
        const i64 distance = static_cast<i64>(label->second) - fixup.insn - 1;
        if (fixup.field == Field::imm) {
            insns_[fixup.insn].imm = narrow<i32>(distance);
        } else {
            if (distance != narrow<i16>(distance))
                return fail(Errc::malformed, fmt::format("label {} is too far away", fixup.label));
            insns_[fixup.insn].off = narrow<i16>(distance);
        }
    }
    return std::move(insns_);
}

}  // namespace

Result<std::vector<Insn>> assemble(std::string_view text, const HelperNumber& helper) {
    return assemble_lines(Assembler(helper), text);
}

}  // namespace anybpf::isa
