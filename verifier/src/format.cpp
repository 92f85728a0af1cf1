// SPDX-License-Identifier: Apache-2.0
// The grammar of bpf_snprintf()'s format strings, as far as the kernel checks it when a program is loaded
// (bpf_bprintf_prepare() of 6.18 without arguments).
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

constexpr bool printable(char c) { return c >= ' ' && c <= '~'; }
constexpr bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr bool ascii(char c) { return static_cast<u8>(c) < 0x80; }
constexpr bool alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
// Behind a word, the kernel's ctype knows Latin-1: spaces and punctuation, no letters.
constexpr bool latin_ends_word(char c) {
    const auto byte = static_cast<u8>(c);
    return (byte >= 0xa0 && byte < 0xc0) || byte == 0xd7 || byte == 0xf7;
}

class Format {
  public:
    explicit Format(std::string_view text) : text_(text) {}

    bool valid(u64 arguments) {
        u64 conversions = 0;
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (ascii(c) && !printable(c) && !space(c)) return false;
            if (c != '%') continue;
            ++at_;
            if (now() == '%') continue;
            if (++conversions > arguments || !conversion()) return false;
        }
        return true;
    }

  private:
    char peek(std::size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
    char now() const { return peek(0); }
    bool word_ends(char c) const {
        return c == '\0' || space(c) || (printable(c) && !alphanumeric(c)) || latin_ends_word(c);
    }

    // at_ goes from behind the % to the conversion's last character.
    bool conversion() {
        while (now() == '0' || now() == '+' || now() == '-' || now() == ' ') ++at_;
        while (now() >= '0' && now() <= '9') ++at_;
        if (now() == 'p') return pointer();
        if (now() == 's') return word_ends(peek(1));
        if (now() == 'c') return true;
        if (now() == 'l') ++at_;
        if (now() == 'l') ++at_;
        return now() == 'i' || now() == 'd' || now() == 'u' || now() == 'x' || now() == 'X';
    }

    bool pointer() {
        const char kind = peek(1);
        if ((kind == 'k' || kind == 'u') && peek(2) == 's') {
            at_ += 2;
            return word_ends(peek(1));
        }
        if (word_ends(kind)) return true;
        if (kind == 'x' || kind == 'K' || kind == 's' || kind == 'S' || kind == 'B') {
            ++at_;
            return true;
        }
        if ((kind != 'i' && kind != 'I') || (peek(2) != '4' && peek(2) != '6')) return false;
        at_ += 2;
        return true;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

bool valid_format(std::string_view format, u64 arguments) { return Format(format).valid(arguments); }

}  // namespace anybpf::verifier
