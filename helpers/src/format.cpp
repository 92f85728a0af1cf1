// SPDX-License-Identifier: Apache-2.0
// Two passes, as in the kernel: the first checks the whole format and fetches what arguments point to, the second
// prints. Not libc's printf: this runs in signal handlers of strangers, and its rules are others.
//
// Where we differ: the kernel hashes %p and hides %pK from the reader of its log. Here an address is one of the traced
// process itself, so both are printed as %px is. Symbols (%ps, %pS, %pB) are printed as addresses, which is what the
// kernel does with one that it has no name for.
#include "format.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "anybpf/helpers/safe_memory.hpp"

namespace anybpf::helpers {
namespace {

// MAX_BPRINTF_BIN_ARGS: what all arguments of one call may take up, strings with their NULs.
constexpr std::size_t argument_bytes = 512;
constexpr u32 max_width = (1U << 23) - 1;

// The kernel's ctype knows Latin-1.
constexpr bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0'; }
constexpr bool is_ascii(char c) { return static_cast<u8>(c) < 0x80; }
constexpr bool is_printable(char c) { return c >= ' ' && c <= '~'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_punctuation(char c) {
    const auto byte = static_cast<u8>(c);
    return (is_printable(c) && c != ' ' && !is_digit(c) && !is_letter(c)) || (byte > 0xa0 && byte < 0xc0) ||
           byte == 0xd7 || byte == 0xf7;
}
constexpr bool ends_word(char c) { return c == '\0' || is_space(c) || is_punctuation(c); }

enum class Shape : u8 { number, text, character, address, symbol };

struct Conversion {
    std::size_t first = 0, last = 0;  // in the format, from its % on
    Shape shape{};
    bool left = false, plus = false, space = false, zero = false;
    bool is_signed = false, upper = false;
    u8 base = 10;
    u32 width = 0;
    u64 value = 0;          // as wide as the conversion says, sign-extended where signed
    const char* text = "";  // NUL-terminated, in Arguments
};

// The first pass.
class Arguments {
  public:
    int parse(const char* format, std::size_t length, std::span<const u64> values);
    std::span<const Conversion> conversions() const { return {conversions_.data(), count_}; }

  private:
    int conversion(const char* format, std::size_t& i, u64 value);
    int pointer(const char* format, std::size_t& i, u64 value, Conversion& c);
    int ip_address(char kind, char version, u64 value, Conversion& c);
    int text(u64 from, Conversion& c);
    int integer(const char* format, std::size_t& i, u64 value, Conversion& c);
    int claim(std::size_t bytes);  // of the space for integers

    std::array<Conversion, max_format_arguments> conversions_;
    std::size_t count_ = 0;
    std::array<char, argument_bytes> bytes_;
    std::size_t used_ = 0;
};

int Arguments::claim(std::size_t bytes) {
    used_ = (used_ + 3) & ~std::size_t{3};
    if (used_ + bytes > argument_bytes) return -ENOSPC;
    used_ += bytes;
    return 0;
}

int Arguments::text(u64 from, Conversion& c) {
    c.shape = Shape::text;
    if (used_ == argument_bytes) return -ENOSPC;
    char* to = bytes_.data() + used_;
    i64 length = read_text(to, from, argument_bytes - used_);
    if (length < 0) {
        *to = '\0';
        length = 1;
    }
    used_ += static_cast<std::size_t>(length);
    c.text = to;
    return 0;
}

int Arguments::ip_address(char kind, char version, u64 value, Conversion& c) {
    static constexpr char digits[] = "0123456789abcdef";
    std::array<u8, 16> ip{};
    const std::size_t size = version == '4' ? 4 : 16;
    if (argument_bytes - used_ < size) return -ENOSPC;
    if (!read_memory(ip.data(), value, size)) ip = {};
    char line[40];
    std::size_t n = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (version == '4') {
            if (i > 0) line[n++] = '.';
            if (kind == 'i' || ip[i] >= 100) line[n++] = digits[ip[i] / 100];
            if (kind == 'i' || ip[i] >= 10) line[n++] = digits[ip[i] / 10 % 10];
            line[n++] = digits[ip[i] % 10];
        } else {
            if (kind == 'I' && i > 0 && i % 2 == 0) line[n++] = ':';
            line[n++] = digits[ip[i] >> 4];
            line[n++] = digits[ip[i] & 15];
        }
    }
    line[n++] = '\0';
    c.shape = Shape::text;
    c.text = bytes_.data() + used_;
    const std::size_t kept = std::min(n, argument_bytes - used_);
    std::memcpy(bytes_.data() + used_, line, kept);
    bytes_[used_ + kept - 1] = '\0';
    used_ += kept;
    return 0;
}

int Arguments::pointer(const char* format, std::size_t& i, u64 value, Conversion& c) {
    const char kind = format[i + 1];
    if ((kind == 'k' || kind == 'u') && format[i + 2] == 's') {
        i += 2;
        return ends_word(format[i + 1]) ? text(value, c) : -EINVAL;
    }
    c.value = value;
    c.base = 16;
    c.shape = Shape::address;
    if (ends_word(kind)) return claim(8);
    if (kind == 'K' || kind == 'x' || kind == 's' || kind == 'S') {
        ++i;
        if (kind == 's' || kind == 'S') c.shape = Shape::symbol;
        return claim(8);
    }
    if (kind == 'B') {
        ++i;
        c.shape = Shape::symbol;
        return 0;
    }
    if ((kind != 'i' && kind != 'I') || (format[i + 2] != '4' && format[i + 2] != '6')) return -EINVAL;
    i += 2;
    return ip_address(kind, format[i], value, c);
}

int Arguments::integer(const char* format, std::size_t& i, u64 value, Conversion& c) {
    const bool is_long = format[i] == 'l';
    if (format[i] == 'l') ++i;
    if (format[i] == 'l') ++i;
    switch (format[i]) {
        case 'i':
        case 'd':
            c.is_signed = true;
            break;
        case 'u':
            break;
        case 'X':
            c.upper = true;
            [[fallthrough]];
        case 'x':
            c.base = 16;
            break;
        default:
            return -EINVAL;
    }
    c.shape = Shape::number;
    c.value = value;
    if (!is_long) c.value = c.is_signed ? static_cast<u64>(i64{static_cast<i32>(value)}) : static_cast<u32>(value);
    return claim(is_long ? 8 : 4);
}

// i stands behind the %, and in the end on the last character of the conversion.
int Arguments::conversion(const char* format, std::size_t& i, u64 value) {
    Conversion& c = conversions_[count_];
    c = {.first = i - 1};
    for (;; ++i) {
        if (format[i] == '0') {
            c.zero = true;
        } else if (format[i] == '+') {
            c.plus = true;
        } else if (format[i] == '-') {
            c.left = true;
        } else if (format[i] == ' ') {
            c.space = true;
        } else {
            break;
        }
    }
    for (; is_digit(format[i]); ++i) c.width = std::min(c.width * 10 + static_cast<u32>(format[i] - '0'), max_width);
    int error = 0;
    if (format[i] == 'p') {
        error = pointer(format, i, value, c);
    } else if (format[i] == 's') {
        error = ends_word(format[i + 1]) ? text(value, c) : -EINVAL;
    } else if (format[i] == 'c') {
        c.shape = Shape::character;
        c.value = value;
        error = used_ == argument_bytes ? -ENOSPC : 0;
        used_ += error == 0 ? 1 : 0;
    } else {
        error = integer(format, i, value, c);
    }
    c.last = i + 1;
    ++count_;
    return error;
}

int Arguments::parse(const char* format, std::size_t length, std::span<const u64> values) {
    for (std::size_t i = 0; i < length; ++i) {
        if (is_ascii(format[i]) && !is_printable(format[i]) && !is_space(format[i])) return -EINVAL;
        if (format[i] != '%') continue;
        ++i;
        if (format[i] == '%') continue;
        if (count_ >= values.size()) return -EINVAL;
        if (const int error = conversion(format, i, values[count_])) return error;
    }
    return 0;
}

// The second pass: counts everything, keeps what fits.
class Output {
  public:
    explicit Output(std::span<char> out) : out_(out) {}

    void put(char c) {
        if (length_ < out_.size()) out_[length_] = c;
        ++length_;
    }
    void fill(char c, std::size_t count) {
        if (length_ < out_.size()) std::memset(out_.data() + length_, c, std::min(count, out_.size() - length_));
        length_ += count;
    }
    void text(const char* from, std::size_t count) {
        if (length_ < out_.size()) std::memcpy(out_.data() + length_, from, std::min(count, out_.size() - length_));
        length_ += count;
    }
    void convert(const Conversion& c);
    i64 finish() {
        if (!out_.empty()) out_[std::min(length_, out_.size() - 1)] = '\0';
        return static_cast<i64>(length_);
    }

  private:
    void padded(const Conversion& c, const char* from, std::size_t count);
    void number(const Conversion& c);

    std::span<char> out_;
    std::size_t length_ = 0;
};

void Output::padded(const Conversion& c, const char* from, std::size_t count) {
    const std::size_t padding = c.width > count ? c.width - count : 0;
    if (!c.left) fill(' ', padding);
    text(from, count);
    if (c.left) fill(' ', padding);
}

void Output::number(const Conversion& c) {
    char digits[24];
    std::size_t count = 0;
    const bool negative = c.is_signed && static_cast<i64>(c.value) < 0;
    const char* symbols = c.upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (u64 rest = negative ? 0 - c.value : c.value; rest != 0 || count == 0; rest /= c.base)
        digits[sizeof digits - ++count] = symbols[rest % c.base];
    const char* first = digits + sizeof digits - count;
    char sign = '\0';
    if (c.is_signed) sign = negative ? '-' : c.plus ? '+' : c.space ? ' ' : '\0';
    const std::size_t total = count + (sign != '\0');
    const std::size_t padding = c.width > total ? c.width - total : 0;
    const bool zero = c.zero && !c.left;
    if (!c.left && !zero) fill(' ', padding);
    if (sign != '\0') put(sign);
    if (zero) fill('0', padding);
    text(first, count);
    if (c.left) fill(' ', padding);
}

void Output::convert(const Conversion& c) {
    switch (c.shape) {
        case Shape::number:
            return number(c);
        case Shape::address: {
            Conversion address = c;
            if (c.width == 0) {
                address.width = 16;
                address.zero = true;
            }
            return number(address);
        }
        case Shape::symbol: {
            char hex[18] = "0x";
            std::size_t n = 2;
            int shift = 60;
            while (shift > 0 && (c.value >> shift & 15) == 0) shift -= 4;
            for (; shift >= 0; shift -= 4) hex[n++] = "0123456789abcdef"[c.value >> shift & 15];
            return padded(c, hex, n);
        }
        case Shape::text:
            return padded(c, c.text, std::strlen(c.text));
        case Shape::character: {
            const char one = static_cast<char>(c.value);
            return padded(c, &one, 1);
        }
    }
}

}  // namespace

i64 format(std::span<char> out, std::span<const char> format, std::span<const u64> arguments) {
    const void* end = std::memchr(format.data(), 0, format.size());
    if (!end || arguments.size() > max_format_arguments) return -EINVAL;
    const auto length = static_cast<std::size_t>(static_cast<const char*>(end) - format.data());
    Arguments parsed;
    if (const int error = parsed.parse(format.data(), length, arguments)) return error;

    Output output(out);
    std::size_t at = 0;
    const auto literal = [&](std::size_t last) {
        for (; at < last; ++at) {
            output.put(format[at]);
            if (format[at] == '%') ++at;  // only "%%" is left between conversions
        }
    };
    for (const Conversion& c : parsed.conversions()) {
        literal(c.first);
        output.convert(c);
        at = c.last;
    }
    literal(length);
    return output.finish();
}

}  // namespace anybpf::helpers
