// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstring>

#include "anybpf/isa/text.hpp"

namespace anybpf::isa {
namespace {

// Numbers as llvm-objdump writes them: sign, then hexadecimal magnitude.
std::string hex(i64 value) {
    const u64 magnitude = value < 0 ? 0 - static_cast<u64>(value) : static_cast<u64>(value);
    return fmt::format("{}{:#x}", value < 0 ? "-" : "", magnitude);
}
std::string signed_hex(i64 value) { return value < 0 ? hex(value) : "+" + hex(value); }

class Printer {
  public:
    Printer(Style style, const HelperName& helper) : kernel_(style == Style::kernel), helper_(helper) {}
    std::string print(const Form& form, const Insn& insn, const Insn* second) const;

  private:
    std::string reg(u32 number, bool is64 = true) const { return fmt::format("{}{}", is64 ? 'r' : 'w', number); }
    std::string imm(i32 value) const { return kernel_ ? fmt::format("{}", value) : hex(value); }
    // "r1 + 0x8" or "r1 +8"
    std::string address(u32 base, i32 off) const {
        if (kernel_) return fmt::format("r{} {:+}", base, off);
        return fmt::format("r{} {} {:#x}", base, off < 0 ? '-' : '+', off < 0 ? -off : off);
    }
    std::string memory(std::string_view type, u32 base, i32 off) const {
        return fmt::format("({} *)({})", type, address(base, off));
    }
    std::string distance(i32 off) const { return kernel_ ? fmt::format("pc{:+}", off) : signed_hex(off); }
    std::string print_alu(const Form& form, const Insn& insn) const;
    std::string print_jump(const Form& form, const Insn& insn) const;
    std::string print_atomic(const Form& form, const Insn& insn) const;
    std::string print_call(CallKind whom, const Insn& insn) const;
    std::string print_wide(Pseudo pseudo, const Insn& insn, const Insn& second) const;

    bool kernel_;
    const HelperName& helper_;
};

std::string Printer::print_alu(const Form& form, const Insn& insn) const {
    const AluRow& alu = row(form.alu);
    const std::string dst = reg(insn.dst, form.is64);
    if (alu.form == AluForm::unary) return fmt::format("{} = {}{}", dst, alu.symbol, dst);
    return fmt::format("{} {} {}", dst, alu.symbol, form.by_register ? reg(insn.src, form.is64) : imm(insn.imm));
}

std::string Printer::print_jump(const Form& form, const Insn& insn) const {
    // The kernel prints this immediate, and only this one, as unsigned hexadecimal.
    const std::string constant = kernel_ ? fmt::format("{:#x}", static_cast<u32>(insn.imm)) : hex(insn.imm);
    return fmt::format("if {} {} {} goto {}", reg(insn.dst, form.is64), row(form.jump).symbol,
                       form.by_register ? reg(insn.src, form.is64) : constant, distance(insn.off));
}

std::string Printer::print_atomic(const Form& form, const Insn& insn) const {
    const AtomicRow& atomic = row(form.atomic);
    const std::string place = memory(row(form.width).text, insn.dst, insn.off);
    const bool low = !kernel_ && form.width == Width::word;  // llvm-objdump names the 32-bit halves
    const std::string src = reg(insn.src, !low), r0 = reg(0, !low);
    const std::string_view wide = kernel_ && form.is64 ? "64" : "";
    // llvm's names for the exchanges: xchg_64, xchg32_32, with the bare address
    const std::string bits = form.is64 ? "_64" : "32_32";
    switch (atomic.form) {
        case AtomicForm::modify:
            return fmt::format("lock *{} {} {}", place, atomic.text, reg(insn.src));
        case AtomicForm::fetch:
            return fmt::format("{} = atomic{}_{}({}, {})", src, wide, atomic.text, place, src);
        case AtomicForm::exchange:
            if (kernel_) return fmt::format("{} = atomic{}_xchg({}, {})", src, wide, place, src);
            return fmt::format("{} = xchg{}({}, {})", src, bits, address(insn.dst, insn.off), src);
        case AtomicForm::compare_exchange:
            if (kernel_) return fmt::format("{} = atomic{}_cmpxchg({}, {}, {})", r0, wide, place, r0, src);
            return fmt::format("{} = cmpxchg{}({}, {}, {})", r0, bits, address(insn.dst, insn.off), r0, src);
        case AtomicForm::load:  // here src is the address and dst the value
            return fmt::format("{} = {}({})", reg(insn.dst), atomic.text,
                               memory(row(form.width).text, insn.src, insn.off));
        case AtomicForm::store:
            return fmt::format("{}({}, {})", atomic.text, place, reg(insn.src));
    }
    return {};
}

std::string Printer::print_call(CallKind whom, const Insn& insn) const {
    switch (whom) {
        case CallKind::helper: {
            const std::string_view name = helper_ ? helper_(static_cast<u32>(insn.imm)) : std::string_view{};
            if (!name.empty()) return fmt::format("call bpf_{}#{}", name, insn.imm);
            return kernel_ ? fmt::format("call unknown#{}", insn.imm) : fmt::format("call {}", hex(insn.imm));
        }
        case CallKind::subprogram:  // llvm-objdump prints no pc, and nothing tells it from a helper's number
            return fmt::format("call pc{}", kernel_ ? fmt::format("{:+}", insn.imm) : signed_hex(insn.imm));
        case CallKind::kfunc:
            return insn.off == 0 ? fmt::format("call kfunc#{}", insn.imm)
                                 : fmt::format("call kfunc#{}@{}", insn.imm, insn.off);
    }
    return {};
}

std::string Printer::print_wide(Pseudo pseudo, const Insn& insn, const Insn& second) const {
    const auto prefix = std::to_array<std::string_view>({
#define ANYBPF_WIDE(name, src, high, text) text,
#include "anybpf/isa/isa.def"
    })[static_cast<u8>(pseudo)];
    const std::string_view end = kernel_ ? "" : " ll";
    std::string value;
    switch (pseudo) {
        case Pseudo::imm64: {
            const u64 number = wide_imm(insn, second);
            value = kernel_ ? fmt::format("{:#x}", number) : hex(static_cast<i64>(number));
            break;
        }
        case Pseudo::map_fd:
        case Pseudo::map_idx:
            value = fmt::format("{}{}]", prefix, insn.imm);
            break;
        case Pseudo::map_value:
        case Pseudo::map_idx_value:
            value = fmt::format("{}{}][0]+{}", prefix, insn.imm, static_cast<u32>(second.imm));
            break;
        case Pseudo::btf_id:  // the second number is the descriptor of a module's BTF
            value =
                fmt::format("{}{}", prefix, insn.imm) + (second.imm != 0 ? fmt::format(",fd:{}]", second.imm) : "]");
            break;
        case Pseudo::func:
            value = fmt::format("{}{:+}]", prefix, insn.imm);
            break;
    }
    return fmt::format("{} = {}{}", reg(insn.dst), value, end);
}

std::string Printer::print(const Form& form, const Insn& insn, const Insn* second) const {
    const auto width = [&] { return row(form.width).text; };
    switch (form.kind) {
        case Kind::alu:
            return print_alu(form, insn);
        case Kind::extend:
            return fmt::format("{} = ({}){}", reg(insn.dst, form.is64), row(form.extend).text,
                               reg(insn.src, form.is64));
        case Kind::swap:
            return fmt::format("r{} = {} r{}", insn.dst, row(form.swap).text, insn.dst);
        case Kind::cast: {
            const u32 to = static_cast<u32>(insn.imm) >> 16, from = static_cast<u32>(insn.imm) & 0xffff;
            const auto space = [&](u32 number) { return kernel_ ? fmt::format("{}", number) : hex(number); };
            return fmt::format("r{} = addr_space_cast(r{}, {}, {})", insn.dst, insn.src, space(to), space(from));
        }
        case Kind::jump:
            return print_jump(form, insn);
        case Kind::ja:
            return "goto " + distance(insn.off);
        case Kind::gotol:
            return "gotol " + distance(insn.imm);
        case Kind::gotox:
            return "gotox " + reg(insn.dst);
        case Kind::call:
            return print_call(form.call, insn);
        case Kind::callx:
            return "callx " + reg(insn.dst);
        case Kind::exit:
            return "exit";
        case Kind::may_goto:
            return "may_goto " + distance(insn.off);
        case Kind::load:
            return fmt::format("{} = *{}", reg(insn.dst), memory(width(), insn.src, insn.off));
        case Kind::load_sx:
            return fmt::format("{} = *{}", reg(insn.dst),
                               memory("s" + std::string(width().substr(1)), insn.src, insn.off));
        case Kind::store_imm:
            return fmt::format("*{} = {}", memory(width(), insn.dst, insn.off), imm(insn.imm));
        case Kind::store:
            return fmt::format("*{} = {}", memory(width(), insn.dst, insn.off), reg(insn.src));
        case Kind::atomic:
            return print_atomic(form, insn);
        case Kind::wide:
            return print_wide(form.pseudo, insn, *second);
        case Kind::packet_abs:
            return fmt::format("r0 = *({} *)skb[{}]", width(), imm(insn.imm));
        case Kind::packet_ind:
            if (insn.imm == 0 && !kernel_) return fmt::format("r0 = *({} *)skb[r{}]", width(), insn.src);
            if (kernel_) return fmt::format("r0 = *({} *)skb[r{} + {}]", width(), insn.src, insn.imm);
            return fmt::format("r0 = *({} *)skb[r{} {} {}]", width(), insn.src, insn.imm < 0 ? '-' : '+',
                               hex(insn.imm < 0 ? -static_cast<i64>(insn.imm) : insn.imm));
    }
    return {};
}

std::string as_bytes(const Insn& insn) {
    u64 bits = 0;
    std::memcpy(&bits, &insn, sizeof(bits));
    return fmt::format(".quad {:#018x}", bits);
}

}  // namespace

std::string print(std::span<const Insn> insns, Style style, const HelperName& helper) {
    const Decoded decoded = decode(insns[0]);
    const bool good =
        !decoded.defect || (style == Style::kernel && decoded.form.kind == Kind::exit && !kernel_defect_at(insns, 0));
    if (!good) return as_bytes(insns[0]);
    const bool wide = decoded.form.kind == Kind::wide;
    if (wide && check(insns.first(insns.size() < 2 ? 1 : 2))) return as_bytes(insns[0]);
    return Printer(style, helper).print(decoded.form, insns[0], wide ? &insns[1] : nullptr);
}

std::vector<Line> disassemble(std::span<const Insn> insns, Style style, const HelperName& helper) {
    std::vector<Line> lines;
    for (u32 pc = 0; pc < insns.size();) {
        Line line{.pc = Pc{pc}, .slots = 1, .text = print(insns.subspan(pc), style, helper)};
        if (insns[pc].code == code_wide && !line.text.starts_with('.')) line.slots = 2;
        pc += line.slots;
        lines.push_back(std::move(line));
    }
    return lines;
}

std::string listing(std::span<const Insn> insns, const ListingOptions& options) {
    std::string text;
    const auto bytes = to_bytes(insns);
    for (const Line& line : disassemble(insns, options.style, options.helper)) {
        if (options.before) text += options.before(line.pc);
        text += fmt::format("{:8}:\t", line.pc.v);
        if (options.bytes) {
            for (std::size_t i = 0; i < line.slots * sizeof(Insn); ++i)
                text += fmt::format("{:02x} ", std::to_integer<u32>(bytes[line.pc.v * sizeof(Insn) + i]));
            text.back() = '\t';
        }
        text += line.text + "\n";
    }
    return text;
}

std::vector<std::byte> to_bytes(std::span<const Insn> insns) {
    const auto bytes = std::as_bytes(insns);
    return {bytes.begin(), bytes.end()};
}

Result<std::vector<Insn>> from_bytes(std::span<const std::byte> bytes) {
    if (bytes.size() % sizeof(Insn) != 0)
        return fail(Errc::truncated,
                    fmt::format("{} bytes are not a whole number of 8-byte instructions", bytes.size()));
    std::vector<Insn> insns(bytes.size() / sizeof(Insn));
    if (!bytes.empty()) std::memcpy(insns.data(), bytes.data(), bytes.size());
    return insns;
}

}  // namespace anybpf::isa
